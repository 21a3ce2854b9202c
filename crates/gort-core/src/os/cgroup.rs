//! The CPU quota and memory limit of the control groups this process is in: the tightest of the whole
//! chain of ancestors, versions 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the file system begins.
static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// For tests: has all files looked for under `root`. False if it was called before.
#[doc(hidden)]
pub fn set_root(root: PathBuf) -> bool {
    ROOT.set(root).is_ok()
}

fn root() -> &'static Path {
    ROOT.get().map_or(Path::new("/"), PathBuf::as_path)
}

/// Processors' worth of CPU time this process may use, if it is limited.
pub fn cpu_quota() -> Option<f64> {
    cpu_quota_under(root())
}

/// Bytes of memory this process may use, if it is limited.
pub fn memory_limit() -> Option<u64> {
    memory_limit_under(root())
}

fn cpu_quota_under(root: &Path) -> Option<f64> {
    least(root, "cpu", |dir| {
        let v2 = read(&dir.join("cpu.max")).and_then(|text| parse_cpu_max(&text));
        v2.or_else(|| {
            let quota: f64 = read(&dir.join("cpu.cfs_quota_us"))?.trim().parse().ok()?;
            let period: f64 = read(&dir.join("cpu.cfs_period_us"))?.trim().parse().ok()?;
            // No quota is -1.
            (quota > 0.0 && period > 0.0).then_some(quota / period)
        })
    })
}

fn memory_limit_under(root: &Path) -> Option<u64> {
    let bytes = least(root, "memory", |dir| {
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
/// that has the controller (v1) or is the unified one (v2).
fn least(root: &Path, controller: &str, limit: impl Fn(&Path) -> Option<f64>) -> Option<f64> {
    let groups = read(&root.join("proc/self/cgroup"))?;
    let mounts = read(&root.join("proc/self/mountinfo"))?;
    let mut tightest: Option<f64> = None;
    for (mount, group) in hierarchies(&groups, &mounts, controller) {
        let mount = root.join(mount.trim_start_matches('/'));
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
fn hierarchies(groups: &str, mounts: &str, controller: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        // hierarchy-id:controllers:path; v2 is `0::path`.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let is_v2 = names.is_empty();
        if !is_v2 && !names.split(',').any(|name| name == controller) {
            continue;
        }
        for mount in mounts.lines() {
            // … root mount-point options … - fstype source super-options
            let Some((left, right)) = mount.split_once(" - ") else {
                continue;
            };
            let mut fields = left.split(' ').skip(3).map(unescape);
            let (Some(root), Some(point)) = (fields.next(), fields.next()) else {
                continue;
            };
            let mut kind = right.split(' ');
            let fits = match kind.next() {
                Some("cgroup2") => is_v2,
                Some("cgroup") => {
                    let options = kind.nth(1).unwrap_or("");
                    !is_v2 && options.split(',').any(|option| option == controller)
                }
                _ => false,
            };
            if fits {
                // In a container the mount shows the group's own subtree.
                let inside = path
                    .strip_prefix(root.trim_end_matches('/'))
                    .unwrap_or(path);
                found.push((point, inside.to_owned()));
            }
        }
    }
    found
}

/// A path as mountinfo writes it: a space is `\040`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that stands for `/`, with the files given; taken away when dropped.
    struct Root(PathBuf);

    impl Root {
        fn with(name: &str, files: &[(&str, &str)]) -> Root {
            let root =
                std::env::temp_dir().join(format!("gort-cgroup-{}-{name}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("a file is in a folder"))
                    .expect("a folder can be made");
                fs::write(path, text).expect("a file can be written");
            }
            Root(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const V2: [(&str, &str); 2] = [
        ("proc/self/cgroup", "0::/slice/unit/leaf\n"),
        (
            "proc/self/mountinfo",
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
        ),
    ];

    #[test]
    fn cpu_max_is_quota_over_period() {
        assert_eq!(parse_cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max(""), None);
    }

    #[test]
    fn version_2_asks_the_whole_chain_of_ancestors() {
        let root = Root::with("v2", &V2);
        assert_eq!(cpu_quota_under(&root.0), None, "no file says anything");
        let set = |dir: &str, text: &str| {
            let dir = root.0.join("sys/fs/cgroup").join(dir);
            fs::create_dir_all(&dir).expect("a folder can be made");
            fs::write(dir.join("cpu.max"), text).expect("a file can be written");
        };
        set("slice/unit/leaf", "max 100000\n");
        assert_eq!(cpu_quota_under(&root.0), None, "max is no quota");
        set("slice", "250000 100000\n");
        assert_eq!(cpu_quota_under(&root.0), Some(2.5), "an ancestor's");
        set("slice/unit", "50000 100000\n");
        assert_eq!(cpu_quota_under(&root.0), Some(0.5), "the tightest");
        set("slice/unit/leaf", "400000 100000\n");
        assert_eq!(cpu_quota_under(&root.0), Some(0.5), "still the tightest");
        set("slice/other", "1000 100000\n");
        assert_eq!(cpu_quota_under(&root.0), Some(0.5), "not a neighbour's");
    }

    #[test]
    fn version_1_asks_the_chain_of_its_own_controller() {
        let root = Root::with(
            "v1",
            &[
                (
                    "proc/self/cgroup",
                    "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n0::/\n",
                ),
                (
                    "proc/self/mountinfo",
                    "36 25 0:32 / /sys/fs/cgroup/a\\040b ro - cgroup cgroup rw,cpu,cpuacct\n\
                     37 25 0:33 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                ),
                ("sys/fs/cgroup/a b/docker/x/cpu.cfs_quota_us", "-1\n"),
                ("sys/fs/cgroup/a b/docker/x/cpu.cfs_period_us", "100000\n"),
                ("sys/fs/cgroup/a b/docker/cpu.cfs_quota_us", "150000\n"),
                ("sys/fs/cgroup/a b/docker/cpu.cfs_period_us", "50000\n"),
                (
                    "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
                    "4096\n",
                ),
                (
                    "sys/fs/cgroup/memory/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
            ],
        );
        assert_eq!(cpu_quota_under(&root.0), Some(3.0));
        assert_eq!(memory_limit_under(&root.0), Some(4096));
    }

    #[test]
    fn a_container_sees_its_own_subtree() {
        let v1 = hierarchies(
            "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n",
            "36 25 0:32 /docker/x /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n",
            "cpu",
        );
        assert_eq!(v1, [("/sys/fs/cgroup/cpu".to_owned(), String::new())]);
    }

    #[test]
    fn a_system_without_control_groups_limits_nothing() {
        let root = Root::with("none", &[("proc/self/cgroup", "")]);
        assert_eq!(cpu_quota_under(&root.0), None);
        assert_eq!(memory_limit_under(&root.0), None);
    }
}
