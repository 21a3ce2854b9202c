//! The CPU quota and memory limit of the control groups this process is in: the tightest of the whole
//! chain of ancestors, versions 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};

/// Processors' worth of CPU time this process may use, if it is limited.
pub fn cpu_quota() -> Option<f64> {
    least(&["cpu"], |dir| {
        let v2 = read(&dir.join("cpu.max")).and_then(|text| parse_cpu_max(&text));
        v2.or_else(|| {
            let quota: f64 = read(&dir.join("cpu.cfs_quota_us"))?.trim().parse().ok()?;
            let period: f64 = read(&dir.join("cpu.cfs_period_us"))?.trim().parse().ok()?;
            (quota > 0.0 && period > 0.0).then_some(quota / period)
        })
    })
}

/// Bytes of memory this process may use, if it is limited.
pub fn memory_limit() -> Option<u64> {
    let bytes = least(&["memory"], |dir| {
        let text =
            read(&dir.join("memory.max")).or_else(|| read(&dir.join("memory.limit_in_bytes")))?;
        // v1 says "no limit" with a number near 2^63.
        text.trim()
            .parse::<u64>()
            .ok()
            .filter(|bytes| *bytes < 1 << 60)
            .map(|bytes| bytes as f64)
    })?;
    Some(bytes as u64)
}

/// `max 100000` or `150000 100000`: quota and period in microseconds.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The least answer of `limit` over the group's folder and all folders above it, for each hierarchy
/// that has one of `controllers` (v1) or is the unified one (v2).
fn least(controllers: &[&str], limit: impl Fn(&Path) -> Option<f64>) -> Option<f64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let mut tightest: Option<f64> = None;
    for (mount, group) in hierarchies(&groups, &mounts, controllers) {
        let mut dir = mount.join(group.trim_start_matches('/'));
        while dir.starts_with(&mount) {
            if let Some(value) = limit(&dir) {
                tightest = Some(tightest.map_or(value, |known| known.min(value)));
            }
            if !dir.pop() {
                break;
            }
        }
    }
    tightest
}

/// Mount point and group path of each hierarchy that matters.
fn hierarchies(groups: &str, mounts: &str, controllers: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        // hierarchy-id:controllers:path; v2 is `0::path`.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let is_v2 = names.is_empty();
        if !is_v2 && !names.split(',').any(|name| controllers.contains(&name)) {
            continue;
        }
        for mount in mounts.lines() {
            // … root mount-point options … - fstype source super-options
            let Some((left, right)) = mount.split_once(" - ") else {
                continue;
            };
            let fields: Vec<&str> = left.split(' ').collect();
            let kind: Vec<&str> = right.split(' ').collect();
            let (Some(root), Some(point)) = (fields.get(3), fields.get(4)) else {
                continue;
            };
            let fits = match kind.first() {
                Some(&"cgroup2") => is_v2,
                Some(&"cgroup") => {
                    !is_v2
                        && kind.get(2).is_some_and(|options| {
                            options
                                .split(',')
                                .any(|option| controllers.contains(&option))
                        })
                }
                _ => false,
            };
            if fits {
                // In a container the mount shows the group's own subtree.
                let inside = path
                    .strip_prefix(root.trim_end_matches('/'))
                    .unwrap_or(path);
                found.push((PathBuf::from(point), inside.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_max_is_quota_over_period() {
        assert_eq!(parse_cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max(""), None);
    }

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let v2 = hierarchies(
            "0::/user.slice/a\n",
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
            &["cpu"],
        );
        assert_eq!(
            v2,
            [(PathBuf::from("/sys/fs/cgroup"), "/user.slice/a".to_owned())]
        );
        let v1 = hierarchies(
            "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n",
            "36 25 0:32 /docker/x /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n",
            &["cpu"],
        );
        assert_eq!(v1, [(PathBuf::from("/sys/fs/cgroup/cpu"), String::new())]);
    }
}
