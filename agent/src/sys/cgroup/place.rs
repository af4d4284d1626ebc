//! Where a process's memory cgroup may be found, out of the texts of `/proc/<pid>/cgroup` and `/proc/self/mountinfo`.
//!
//! A container may see its hierarchy from the host's root, from its own group (mounted there), or through a cgroup
//! namespace, in which its own group is `/`; and the two texts need not fit each other. What fits is sure; where nothing
//! does, the mount's root may be the group, and whoever uses it must make sure.

use super::Version;
use std::path::{Path, PathBuf};

/// Where a group may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: Version,
    pub(super) folder: PathBuf,
    /// The mount point.
    pub(super) top: PathBuf,
    /// Both texts agree on it.
    pub(super) sure: bool,
}

/// The likeliest first. A memory hierarchy of version 1 comes before version 2: where it exists, version 2 can't have the
/// controller.
pub(super) fn places(groups: &str, mounts: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for version in [Version::One, Version::Two] {
        let Some(group) = groups.lines().find_map(|line| group(line, version)) else { continue };
        let mounts: Vec<Mount> = mounts.lines().filter_map(|line| mount(line, version)).collect();
        let below = mounts.iter().filter_map(|mount| {
            let folder = mount.point.join(Path::new(&group).strip_prefix(&mount.root).ok()?);
            Some(Place { version, folder: clean(&folder), top: mount.point.clone(), sure: true })
        });
        let roots = mounts.iter().map(|mount| {
            let point = &mount.point;
            Place { version, folder: point.clone(), top: point.clone(), sure: false }
        });
        places.extend(below.chain(roots));
    }
    places
}

/// `4:memory:/docker/1f…`, `0::/user.slice`. A group of another namespace begins with `/..`: it is nowhere here.
fn group(line: &str, version: Version) -> Option<String> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let fits = match version {
        Version::One => controllers.split(',').any(|controller| controller == "memory"),
        Version::Two => number == "0" && controllers.is_empty(),
    };
    fits.then(|| path.trim_end_matches(" (deleted)").to_owned())
}

struct Mount {
    /// What of the hierarchy is mounted.
    root: PathBuf,
    point: PathBuf,
}

/// `35 31 0:32 /docker/1f… /sys/fs/cgroup/memory ro,nosuid master:9 - cgroup cgroup rw,memory`.
fn mount(line: &str, version: Version) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let fits = match (version, kind.next()?) {
        (Version::One, "cgroup") => kind.nth(1)?.split(',').any(|option| option == "memory"),
        (Version::Two, "cgroup2") => true,
        _ => false,
    };
    let mut fields = place.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    fits.then(|| Mount { root: unescape(root), point: unescape(point) })
}

/// Without the slash at the end that joining nothing leaves.
fn clean(path: &Path) -> PathBuf {
    path.components().collect()
}

/// mountinfo writes space, tab, line feed and backslash as `\` and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let (mut done, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('\\') {
        done.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                done.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                done.push('\\');
                rest = after;
            }
        }
    }
    PathBuf::from(done + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(groups: &str, mounts: &str) -> Vec<(Version, String, bool)> {
        let told = |place: Place| (place.version, place.folder.display().to_string(), place.sure);
        places(groups, mounts).into_iter().map(told).collect()
    }

    const V1_MOUNTS: &str = "\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

    #[test]
    fn a_group_of_version_1_below_the_hierarchys_root() {
        let groups = "5:devices:/\n4:memory:/user.slice/space\n1:cpu:/\n0::/\n";
        let folder = "/sys/fs/cgroup/memory/user.slice/space".to_owned();
        assert_eq!(found(groups, V1_MOUNTS)[0], (Version::One, folder, true));
    }

    /// Docker 19 on Ubuntu 18.04.
    #[test]
    fn docker_with_version_1_mounts_the_groups_folder_as_the_hierarchys_root() {
        let groups = "11:memory:/docker/5f0c\n10:cpu,cpuacct:/docker/5f0c\n1:name=systemd:/docker/5f0c\n\
                      0::/system.slice/containerd.service\n";
        let mounts = "725 720 0:31 /docker/5f0c /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev,noexec,relatime master:15 \
                      - cgroup cgroup rw,cpu,cpuacct\n\
                      731 720 0:37 /docker/5f0c /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:21 \
                      - cgroup cgroup rw,memory\n";
        assert_eq!(found(groups, mounts)[0], (Version::One, "/sys/fs/cgroup/memory".into(), true));
    }

    /// Docker 24 on Debian 12: a cgroup namespace of its own.
    #[test]
    fn docker_with_version_2_sees_its_own_group_as_the_root() {
        let mounts = "1093 1092 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n";
        assert_eq!(found("0::/\n", mounts)[0], (Version::Two, "/sys/fs/cgroup".into(), true));
    }

    #[test]
    fn podman_with_a_namespace_may_mount_its_group_under_its_outer_name() {
        // The mount was made before the namespace: its root is told from the inside of it.
        let mounts = "612 611 0:26 /../../container /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(found("0::/\n", mounts), [(Version::Two, "/sys/fs/cgroup".into(), false)]);
        // And the other way round: the path is the outer one, the mount the inner one.
        let mounts = "612 611 0:26 /machine.slice/libpod-9a /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        let groups = "0::/machine.slice/libpod-9a/container\n";
        assert_eq!(found(groups, mounts)[0], (Version::Two, "/sys/fs/cgroup/container".into(), true));
        let groups = "0::/user.slice/user-1000.slice/libpod-9a\n";
        assert_eq!(found(groups, mounts), [(Version::Two, "/sys/fs/cgroup".into(), false)]);
    }

    #[test]
    fn kubernetes_with_either_version() {
        let pod = "/kubepods/burstable/pod1b2c/6d7e";
        let groups = format!("9:memory:{pod}\n3:cpu,cpuacct:{pod}\n0::/\n");
        let mounts =
            format!("2036 2029 0:33 {pod} /sys/fs/cgroup/memory ro,relatime master:16 - cgroup cgroup rw,memory\n");
        assert_eq!(found(&groups, &mounts)[0], (Version::One, "/sys/fs/cgroup/memory".into(), true));
        let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-pod1b2c.slice/cri-containerd-6d7e.scope";
        let mounts = "2036 2029 0:26 / /sys/fs/cgroup ro,relatime - cgroup2 cgroup rw\n";
        let folder = format!("/sys/fs/cgroup{pod}");
        assert_eq!(found(&format!("0::{pod}\n"), mounts)[0], (Version::Two, folder, true));
    }

    #[test]
    fn where_both_versions_are_the_one_with_the_memory_controller_comes_first() {
        let mounts = format!("{V1_MOUNTS}41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
        let groups = "4:memory:/space\n0::/user.slice/app.scope\n";
        assert_eq!(
            found(groups, &mounts),
            [
                (Version::One, "/sys/fs/cgroup/memory/space".into(), true),
                (Version::One, "/sys/fs/cgroup/memory".into(), false),
                (Version::Two, "/sys/fs/cgroup/unified/user.slice/app.scope".into(), true),
                (Version::Two, "/sys/fs/cgroup/unified".into(), false),
            ]
        );
        // The controller's hierarchy may not be mounted in a container.
        let mounts = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(found("4:memory:/space\n0::/\n", mounts)[0].0, Version::Two);
    }

    #[test]
    fn names_with_spaces_and_colons_and_torn_lines_do_no_harm() {
        let mounts = "41 31 0:38 / /mnt/c\\040groups\\134x rw - cgroup2 cgroup2 rw\n41 31\n- \n\\\n";
        assert_eq!(
            found("0::/a:b/c (deleted)\n0\n::\n", mounts)[0],
            (Version::Two, "/mnt/c groups\\x/a:b/c".into(), true)
        );
        assert_eq!(found("", ""), []);
        assert_eq!(unescape("a\\9z\\"), Path::new("a\\9z\\"));
    }
}
