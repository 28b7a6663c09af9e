//! The memory that the system says this process has.

use std::fs;

/// Bytes in memory now; 0 if the system does not say.
pub(super) fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status");
    status.ok().and_then(|text| parse(&text)).unwrap_or(0)
}

/// `VmRSS:      1234 kB`
fn parse(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = value.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_and_read() {
        let text = "VmPeak:\t  9 kB\nVmRSS:\t    1234 kB\nRssAnon:\t 5 kB\n";
        assert_eq!(parse(text), Some(1234 * 1024));
        assert_eq!(parse("Name:\tx\n"), None);
        assert_eq!(parse("VmRSS: lots\n"), None);
    }

    #[test]
    fn this_process_has_some() {
        assert!(resident_bytes() > 100 * 1024);
    }
}
