//! How much memory the machine, or the container around this process, has to give.

use std::path::Path;

/// Bytes that can be had without swapping; `None` where the system does not say.
pub(crate) fn available() -> Option<usize> {
    let of_machine = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(groups.lines().filter_map(group).chain([of_machine]).min().unwrap_or(of_machine))
}

fn meminfo(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kibibytes| kibibytes << 10)
}

/// What is left of a control group's memory, and of those around it. A line is `0::/path` in version 2 and
/// `4:memory:/path` in version 1; inside a container the path may be one that only the outside knows.
fn group(line: &str) -> Option<usize> {
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
    fn the_machine_says_what_it_has() {
        assert_eq!(meminfo("MemTotal:  9 kB\nMemAvailable:   3 kB\n"), Some(3072));
        assert_eq!(meminfo("MemTotal:  9 kB\n"), None);
        assert_eq!(group("3:cpuset:/"), None);
        #[cfg(target_os = "linux")]
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
