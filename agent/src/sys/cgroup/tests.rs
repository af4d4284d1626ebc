//! Tests of reading a group: recorded files, and the group that this process is in.

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("space-agent-cgroup-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("pod/container")).unwrap();
        Folder(folder)
    }

    fn write(&self, file: &str, text: &str) -> &Folder {
        fs::write(self.0.join(file), text).unwrap();
        self
    }

    fn group(&self, version: Version) -> Group {
        Group::at(version, &self.0.join("pod/container"), &self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MB: u64 = 1 << 20;

#[test]
fn version_2_tells_the_working_set_the_tightest_limit_and_the_ends() {
    let folder = Folder::new("two");
    folder
        .write("pod/memory.max", "max\n")
        .write("pod/container/memory.max", "268435456\n")
        .write("pod/container/memory.current", "230686720\n")
        .write("pod/container/memory.stat", "anon 188743680\nfile 41943040\ninactive_file 20971520\nactive_file 1\n")
        .write("pod/container/memory.events", "low 0\nhigh 0\nmax 817\noom 3\noom_kill 2\noom_group_kill 0\n")
        .write("pod/container/memory.oom.group", "0\n");
    let group = folder.group(Version::Two);
    assert_eq!(group.usage(), Some(Use { used: 200 * MB, limit: Some(256 * MB) }));
    assert_eq!(group.kills(), Some(2));
    assert!(!group.ends_as_one());
    folder
        .write("pod/memory.max", "134217728\n")
        .write("pod/memory.current", "104857600\n")
        .write("pod/memory.stat", "inactive_file 0\n")
        .write("pod/memory.oom.group", "1\n");
    assert_eq!(group.usage(), Some(Use { used: 100 * MB, limit: Some(128 * MB) }), "the pod's is tighter");
    assert!(group.ends_as_one());
    assert_eq!(group.pressure(), Some(folder.0.join("pod/memory.pressure")));
}

#[test]
fn version_1_tells_the_same_and_of_limits_out_of_sight() {
    let folder = Folder::new("one");
    folder
        .write("pod/container/memory.limit_in_bytes", "9223372036854771712\n")
        .write("pod/container/memory.usage_in_bytes", "230686720\n")
        .write(
            "pod/container/memory.stat",
            "inactive_file 1\nhierarchical_memory_limit 9223372036854771712\ntotal_inactive_file 20971520\n",
        )
        .write("pod/container/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
    let group = folder.group(Version::One);
    assert_eq!(group.usage(), Some(Use { used: 200 * MB, limit: None }));
    assert_eq!((group.kills(), group.pressure()), (Some(7), None));
    folder.write("pod/container/memory.stat", "hierarchical_memory_limit 268435456\n");
    assert_eq!(group.usage(), Some(Use { used: 220 * MB, limit: Some(256 * MB) }));
    folder.write("pod/container/memory.limit_in_bytes", "251658240\n");
    assert_eq!(group.usage().unwrap().limit, Some(240 * MB));
}

#[test]
fn a_group_that_has_gone_tells_nothing() {
    let group = Group::at(Version::Two, Path::new("/no/such/group"), Path::new("/no"));
    assert_eq!((group.usage(), group.kills(), group.ends_as_one()), (None, None, false));
    assert!(group.signal(&[]).is_none());
}

#[test]
fn this_processs_own_group_can_be_read_where_it_has_one() {
    let Some(group) = Group::of("self") else {
        println!("skipped: this process is in no memory cgroup that can be seen");
        return;
    };
    assert!(group.usage().is_some_and(|usage| usage.used > 0), "{group:?}");
    assert!(group.kills().is_some(), "{group:?}");
}
