//! The form in which macOS shows arguments and environment of a process (sysctl KERN_PROCARGS2). Pure, so that it is
//! tested everywhere.

/// The environment's part: the number of arguments, the program's path, NULs up to the next word boundary, the
/// arguments, then the environment until an empty entry.
pub(super) fn environment(buffer: &[u8]) -> Option<&[u8]> {
    let (count, rest) = buffer.split_first_chunk::<4>()?;
    let arguments = u32::from_ne_bytes(*count);
    let path_end = rest.iter().position(|byte| *byte == 0)?;
    let padding = rest[path_end..].iter().position(|byte| *byte != 0)?;
    let mut rest = &rest[path_end + padding..];
    for _ in 0..arguments {
        let end = rest.iter().position(|byte| *byte == 0)?;
        rest = &rest[end + 1..];
    }
    if rest.first() == Some(&0) {
        return Some(&[]);
    }
    let end = rest.windows(2).position(|pair| pair == [0, 0]).map_or(rest.len(), |at| at + 1);
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(arguments: u32, text: &[u8]) -> Vec<u8> {
        [&arguments.to_ne_bytes()[..], text].concat()
    }

    #[test]
    fn the_environment_begins_after_the_arguments_and_ends_at_the_empty_entry() {
        let whole = buffer(2, b"/bin/x\0\0\0\0x\0A=argument\0B=1\0C=\0\0ptr_munge=\0");
        assert_eq!(environment(&whole), Some(&b"B=1\0C=\0"[..]));
        let empty_argument = buffer(3, b"/bin/x\0x\0\0y\0B=1\0");
        assert_eq!(environment(&empty_argument), Some(&b"B=1\0"[..]));
    }

    #[test]
    fn what_is_hidden_or_cut_is_nothing() {
        assert_eq!(environment(&buffer(1, b"/bin/x\0\0x\0\0\0\0")), Some(&b""[..]));
        assert_eq!(environment(&buffer(9, b"/bin/x\0x\0")), None);
        assert_eq!(environment(b"12"), None);
        assert_eq!(environment(&buffer(1, b"/bin/x")), None);
    }
}
