//! That a sample costs no memory: the detector runs in the daemon for weeks, for each service.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use supervisor::policy::trend::{Trend, TrendSpec};

use super::{point, trace::Trace};

/// The system's allocator, with a count of what each thread asked for.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
// SAFETY: everything is passed on as it is; the count is a plain number of this thread, and is not dropped.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|asked| asked.set(asked.get() + 1));
        // SAFETY: by the caller's word.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by the caller's word.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often memory was asked for, over all samples of a trace of which nothing is told.
pub fn allocations(trace: &Trace) -> u64 {
    let spec = TrendSpec { growth: Some(trace.growth()), plateau: None, recycle: None };
    let mut trend = Trend::new();
    let before = ASKED.with(Cell::get);
    let told = trace.samples.iter().filter(|sample| trend.sample(&spec, point(sample)).is_some()).count();
    assert_eq!(told, 0, "{}", trace.name);
    ASKED.with(Cell::get) - before
}
