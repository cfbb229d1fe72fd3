//! The memory that is available on the machine, or in the container around this process.

use std::path::Path;

/// Bytes that are available without swapping; `None` where the system does not report them.
pub fn available() -> Option<usize> {
    let machine = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(groups.lines().filter_map(control_group).chain([machine]).min().unwrap_or(machine))
}

fn meminfo(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kibibytes| kibibytes << 10)
}

/// Bytes left in a control group and in its parents. A line is `0::/path` in version 2 and `4:memory:/path` in
/// version 1; inside a container the path may exist outside only.
fn control_group(line: &str) -> Option<usize> {
    let (kind, path) = line.split_once(':')?.1.split_once(':')?;
    let (root, limit, used) = match kind {
        "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
        kind if kind.split(',').any(|controller| controller == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
        }
        _ => return None,
    };
    let left = |folder: &Path| {
        let folder = Path::new(root).join(folder);
        let number =
            |file: &str| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse::<usize>().ok();
        Some(number(limit)?.saturating_sub(number(used)?))
    };
    Path::new(path.trim_start_matches('/')).ancestors().filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        assert_eq!(meminfo("MemTotal:  9 kB\nMemAvailable:   3 kB\n"), Some(3072));
        assert_eq!(meminfo("MemTotal:  9 kB\n"), None);
        assert_eq!(control_group("3:cpuset:/"), None);
        #[cfg(target_os = "linux")]
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
