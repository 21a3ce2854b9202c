//! GOMAXPROCS follows the CPU quota and the affinity mask while goroutines run, until it is set. Alone
//! in its binary: it gives the process a quota of its own making, and changes its affinity.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use gort_core::runtime::{self, Config, ProcsSource};
use gort_core::sched::{self, SpawnOptions, join::Outcome};

const GROUP: &str = "sys/fs/cgroup/slice/unit";

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
    // As the kernel does: a reader sees the old text or the new.
    let new = root.join("new");
    fs::write(&new, text).expect("a file can be written");
    fs::rename(&new, path).expect("a file can be renamed");
}

type Mask = [u64; 128];

fn mask() -> Mask {
    let mut mask = [0; 128];
    // SAFETY: the kernel writes at most `size_of_val(&mask)` bytes.
    let got = unsafe {
        libc::sched_getaffinity(
            0,
            size_of_val(&mask),
            (&raw mut mask).cast::<libc::cpu_set_t>(),
        )
    };
    assert_eq!(got, 0);
    mask
}

/// Sets the mask of all threads, as `taskset -a` does.
fn set_mask(mask: &Mask) {
    for task in fs::read_dir("/proc/self/task").expect("/proc is mounted") {
        let tid = task.expect("a folder that can be read").file_name();
        let tid = tid.to_string_lossy().parse().expect("a thread's id");
        // SAFETY: the kernel reads `size_of_val(mask)` bytes. A thread that has ended is an error.
        unsafe { libc::sched_setaffinity(tid, size_of_val(mask), (&raw const *mask).cast()) };
    }
}

/// One of the mask's processors.
fn one_of(mask: &Mask) -> Mask {
    let mut one = [0; 128];
    let word = mask
        .iter()
        .position(|word| *word != 0)
        .expect("a processor");
    one[word] = 1 << mask[word].trailing_zeros();
    one
}

#[track_caller]
fn until_procs(n: usize, source: ProcsSource) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while (runtime::gomaxprocs() as usize, runtime::gomaxprocs_source()) != (n, source) {
        assert!(
            Instant::now() < deadline,
            "GOMAXPROCS is {} ({}), not {n} ({source})",
            runtime::gomaxprocs(),
            runtime::gomaxprocs_source()
        );
        // waits: between two looks
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_number_follows_quota_and_mask_until_it_is_set() {
    let all = mask();
    let usable = all.iter().map(|word| word.count_ones()).sum::<u32>() as usize;
    if usable < 2 {
        return println!("skipped: one processor cannot be limited any further");
    }
    let root = std::env::temp_dir().join(format!("gort-limits-{}", std::process::id()));
    write(&root, "proc/self/cgroup", "0::/slice/unit\n");
    let mount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    write(&root, "proc/self/mountinfo", mount);
    let set_quota = |text| write(&root, &format!("{GROUP}/cpu.max"), text);
    set_quota("max 100000\n");
    assert!(gort_core::os::cgroup::set_root(root.clone()));
    // SAFETY: no other thread of this process reads or writes the environment now.
    unsafe {
        std::env::remove_var("GORT_PROCS");
        std::env::remove_var("GOMAXPROCS");
    }
    runtime::start(Config::default()).expect("a first start");
    assert_eq!(runtime::gomaxprocs() as usize, usable);
    assert_eq!(runtime::gomaxprocs_source(), ProcsSource::Affinity);

    // While goroutines run.
    let is_over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..usable + 1)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            let work = move || {
                let mut rounds = 0u64;
                while !is_over.load(Ordering::Relaxed) {
                    sched::yield_now();
                    rounds += 1;
                }
                rounds
            };
            sched::spawn(work, SpawnOptions::new()).expect("there is room")
        })
        .collect();
    set_quota("90000 100000\n");
    until_procs(1, ProcsSource::Cgroup);
    set_quota("max 100000\n");
    until_procs(usable, ProcsSource::Affinity);
    write(&root, "sys/fs/cgroup/slice/cpu.max", "100000 100000\n");
    until_procs(1, ProcsSource::Cgroup);
    write(&root, "sys/fs/cgroup/slice/cpu.max", "max 100000\n");
    until_procs(usable, ProcsSource::Affinity);
    set_mask(&one_of(&all));
    until_procs(1, ProcsSource::Affinity);
    set_mask(&all);
    until_procs(usable, ProcsSource::Affinity);

    assert_eq!(runtime::set_gomaxprocs(3), usable);
    set_quota("90000 100000\n");
    // waits: longer than it takes until the quota would be read
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(runtime::gomaxprocs(), 3);
    assert_eq!(runtime::gomaxprocs_source(), ProcsSource::Set);

    is_over.store(true, Ordering::Relaxed);
    for worker in workers {
        assert!(matches!(worker.join(), Outcome::Returned(1..)));
    }
    fs::remove_dir_all(&root).expect("ours to remove");
}
