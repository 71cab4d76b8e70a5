//! What `/proc` says of a worker.

use std::fs;

use crate::Outcome;

/// Threads of a process, and how often they were switched to since they began.
pub fn threads_and_switches(pid: u32) -> Outcome<(u64, u64)> {
    let mut threads = 0;
    let mut switches = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        threads += 1;
        switches += field(&status, "voluntary_ctxt_switches:")?;
        switches += field(&status, "nonvoluntary_ctxt_switches:")?;
    }
    Ok((threads, switches))
}

/// The resident anonymous memory of this process in bytes.
pub fn own_memory() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    Ok(field(&status, "RssAnon:")? * 1024)
}

fn field(status: &str, name: &str) -> Outcome<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or_else(|| format!("no {name} in /proc"))?;
    Ok(value.parse()?)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_by_its_whole_name_and_read_without_its_unit() {
        let status =
            "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\nRssAnon:\t  12 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:").unwrap(), 3);
        assert_eq!(field(status, "RssAnon:").unwrap(), 12);
        assert!(field(status, "Threads:").is_err());
    }
}
