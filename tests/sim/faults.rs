//! What each fault does to the world, and the end of them all.

use supervisor::model::Exit;

use crate::clock::SECOND;
use crate::plan::Fault;
use crate::runner::Message;
use crate::story::Story;
use crate::world::{Action, Actor, Event, Mood};

impl Story {
    pub fn on_fault(&mut self, fault: Fault) {
        let w = &mut self.w;
        match fault {
            Fault::Exit { service, exit } => w.exit_main(service, exit),
            Fault::Loop { service, times, uptime_ms, exit } => {
                w.programs[service].moods.extend((0..times).map(|_| Mood { uptime_ms, exit }));
                w.exit_main(service, exit);
            }
            Fault::Refuse { service, mended_s } => {
                w.programs[service].refuses = true;
                w.exit_main(service, Exit::Code(78));
                w.after(mended_s * SECOND, Event::Mended(service));
            }
            Fault::Missing { service, mended_s } => {
                w.programs[service].missing = true;
                w.after(mended_s * SECOND, Event::Mended(service));
            }
            Fault::Short { service, times } => w.programs[service].short = times,
            Fault::Slow { service, ms } => {
                if let Some(pid) = w.main(service) {
                    let ends_within = ms.map(|ms| ms * 1_000_000);
                    w.kernel.set_manners(pid, crate::kernel::Manners { ends_within, exits: true });
                }
            }
            Fault::Stuck { service, s } => {
                if let Some(pid) = w.main(service) {
                    w.kernel.set_stuck(pid);
                    w.after(s * SECOND, Event::Unstuck { pid });
                }
            }
            Fault::Fork { service, leaves, deaf } => w.fork(service, leaves, deaf),
            Fault::Strangers { count } => w.strangers(count),
            Fault::Order { service, verb, cause } => {
                let slot = w.plan.slot_of(service);
                self.send(slot, Message::Order { service, verb, cause });
            }
            Fault::KillRunner { slot, after: 0, back_ms } => self.runner_dies(slot, back_ms * 1_000_000),
            Fault::KillRunner { slot, after, back_ms } => {
                w.arm(Actor::Runner(slot), after - 1, Action::Kill { back_ms });
            }
            Fault::KillDaemon { after: 0, back_ms } => {
                w.back_ms = back_ms;
                self.daemon_dies();
            }
            Fault::KillDaemon { after, back_ms } => w.arm(Actor::Daemon, after - 1, Action::Kill { back_ms }),
            Fault::ExitAfter { slot, service, after, exit } => {
                w.arm(Actor::Runner(slot), after, Action::Exit { service, exit });
            }
            Fault::Shutdown { slot, back_s } => {
                w.back_ms = back_s * 1000;
                self.send(slot, Message::Term);
            }
            Fault::Upgrade { slot } => {
                if let Some(runner) = &mut self.runners[slot] {
                    runner.upgrade(w);
                }
            }
            Fault::DiskFull { s } => {
                w.disk.full = true;
                w.disk.was_full = true;
                w.after(s * SECOND, Event::DiskHasRoom);
            }
            Fault::Database { s } => {
                w.database_ill = true;
                w.after(s * SECOND, Event::DatabaseWell);
            }
            Fault::Power { after: 0, off_s, .. } => w.power_off = Some(off_s),
            Fault::Power { slot, after, off_s } => w.arm(Actor::Runner(slot), after - 1, Action::Power { off_s }),
            Fault::Sleep { s } => {
                // A process that its runner had no time to write down is as old as the kernel says, and that counts sleep.
                let slots = w.plan.slots();
                let gone = slots.into_iter().zip(&self.runners).filter(|(_, runner)| runner.is_none());
                gone.flat_map(|(services, _)| services).for_each(|service| w.oracle.excuse_throttle(service));
                w.clock.sleep(s * SECOND);
            }
            Fault::Wall { ms } => w.clock.step_wall(ms),
        }
    }

    /// The faults are over.
    pub fn heal(&mut self) {
        self.w.say("FAULT", || "that was the last".into());
        self.resting = true;
        self.w.disk.full = false;
        self.w.database_ill = false;
        self.w.disarm(None);
        for service in 0..self.w.programs.len() {
            let program = &mut self.w.programs[service];
            program.moods.clear();
            program.short = 0;
            if program.refuses || program.missing {
                self.on_event(Event::Mended(service));
            }
        }
        if let Some(daemon) = &mut self.daemon {
            daemon.look = true;
        }
    }
}
