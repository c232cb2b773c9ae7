//! What a cell is shown beside its own directories: mounts, the root of an
//! image, ports of services; and what a private network leads to.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver::{Cell, CellRequest, Driver, Mount, Root};
use fleetfoot_driver_conformance::network::{
    in_a_world_of_its_own, is_world_of_its_own, leads_out_and_nowhere_else, services_are_reached,
};
use fleetfoot_driver_conformance::{World, as_an_ordinary_user, finish, fresh_tag};
use fleetfoot_driver_sandbox::{Network, SandboxDriver, SandboxOptions};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_model::spec::Limits;
use std::collections::HashMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    driver: SandboxDriver,
}

/// A driver and a directory, or `None` (said why) where the machine cannot make the cell.
async fn place(network: Network) -> Option<Place> {
    let options = SandboxOptions { tag: fresh_tag(), network, ..SandboxOptions::default() };
    let dir = tempfile::tempdir().unwrap();
    let probe = SandboxDriver::probe(options.clone(), dir.path()).await;
    if !probe.usable {
        eprintln!("skipped: no such sandbox on this machine: {probe:#?}");
        return None;
    }
    for name in ["workspace", "temp"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    Some(Place { dir, driver: SandboxDriver::new(options).unwrap() })
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn request(&self) -> CellRequest {
        let attempt = AttemptRef { job: JobId(1), attempt: 1, epoch: Epoch(9) };
        CellRequest::new(attempt, self.path("workspace"), self.path("temp"))
    }

    async fn cell(&self, request: CellRequest) -> Box<dyn Cell> {
        self.driver.prepare(request).await.unwrap()
    }

    async fn sh(&self, cell: &dyn Cell, script: &str) -> String {
        self.shell("/bin/bash", cell, script).await
    }

    async fn shell(&self, shell: &str, cell: &dyn Cell, script: &str) -> String {
        let command = fleetfoot_driver::Command {
            program: shell.into(),
            args: vec!["-c".into(), script.into()],
            env: HashMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            working_directory: self.path("workspace"),
            merge_output: true,
            ..fleetfoot_driver::Command::default()
        };
        finish(cell.start(command).await.unwrap()).await.1
    }
}

#[tokio::test]
async fn mounts_are_there_under_their_names() {
    let Some(place) = place(Network::None).await else { return };
    // What only the runner's user may touch.
    let hook = place.file("private/hook", "#!/bin/sh\necho hooked\n", 0o700);
    place.file("tools/a", "tool\n", 0o600);
    place.file("secret", "nobody sees this\n", 0o644);
    let elsewhere = place.file("data", "elsewhere\n", 0o600);
    let mut request = place.request();
    request.mounts = vec![
        Mount::read_only(&hook),
        Mount::writable(place.path("tools")),
        Mount {
            host: elsewhere.clone(),
            inside: "/usr/share/fleetfoot-test/deep/data".into(),
            writable: false,
        },
        Mount { host: place.path("tools"), inside: "/actions".into(), writable: false },
    ];
    let cell = place.cell(request).await;
    let script = format!(
        "{hook}; echo x 2>/dev/null >>{hook} || echo no writing
         cat {tools}/a /usr/share/fleetfoot-test/deep/data /actions/a
         echo more >>{tools}/a && echo new >{tools}/b; echo x 2>/dev/null >/actions/c || echo nor here
         cat {secret} 2>/dev/null || echo not shown
         ls /usr/bin/env /usr/share/doc >/dev/null && echo the rest is there
         echo x 2>/dev/null >/usr/share/fleetfoot-test/x || echo closed",
        hook = hook.display(),
        tools = place.path("tools").display(),
        secret = place.path("secret").display(),
    );
    let out = place.sh(&*cell, &script).await;
    assert_eq!(
        out,
        "hooked\nno writing\ntool\nelsewhere\ntool\nnor here\nnot shown\nthe rest is there\nclosed\n"
    );
    assert_eq!(cell.inside(&elsewhere), Path::new("/usr/share/fleetfoot-test/deep/data"));
    assert_eq!(cell.inside(&hook), hook);
    cell.tear_down().await.unwrap();
    assert_eq!(std::fs::read_to_string(place.path("tools/a")).unwrap(), "tool\nmore\n");
    let owner =
        |name: &str| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(place.path(name)).unwrap());
    assert_eq!(owner("tools/b"), owner("tools/a"), "what a job writes is the runner's");
    assert!(!Path::new("/usr/share/fleetfoot-test").exists(), "nothing was made on the host");
}

#[tokio::test]
async fn places_that_no_cell_shows() {
    let Some(place) = place(Network::None).await else { return };
    for inside in ["/", "/proc/x", "/dev/x", "/tmp", "/a/../etc", "relative"] {
        let mut request = place.request();
        request.mounts = vec![Mount { host: place.path("temp"), inside: inside.into(), writable: false }];
        assert!(place.driver.prepare(request).await.is_err(), "{inside}");
    }
    let mut request = place.request();
    request.mounts = vec![Mount::read_only(place.path("missing"))];
    let error = place.driver.prepare(request).await.err().unwrap();
    assert!(error.to_string().contains("missing"), "{error}");
}

/// A root with busybox, or `None` if there is none to be had.
fn image(place: &Place) -> Option<Root> {
    let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|p| Path::new(p).exists()) else {
        eprintln!("skipped: no busybox to make an image of");
        return None;
    };
    let root = place.path("image");
    for dir in ["bin", "usr/local/bin", "etc", "opt"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for name in ["sh", "cat", "ls", "env", "echo"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("etc/os-release"), "ID=tiny\n").unwrap();
    std::fs::write(root.join("usr/local/bin/mine"), "#!/bin/sh\necho from the image\n").unwrap();
    std::fs::set_permissions(root.join("usr/local/bin/mine"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    let env = vec![("COLOUR".into(), "blue".into()), ("PATH".into(), "/nowhere".into())];
    Some(Root { directory: root, image: "sha256:1234".into(), env })
}

#[tokio::test]
async fn an_image_is_the_root() {
    let Some(place) = place(Network::None).await else { return };
    let Some(root) = image(&place) else { return };
    let hook = place.file("hook", "#!/bin/sh\necho hooked\n", 0o700);
    let mut request = place.request();
    request.root = Some(root.clone());
    // A place in a directory of the image, which must not change for it.
    request.mounts = vec![Mount { host: hook, inside: "/usr/local/bin/hook".into(), writable: false }];
    let cell = place.cell(request).await;
    let script = "cat /etc/os-release; /usr/local/bin/mine; /usr/local/bin/hook; echo $COLOUR $PATH
        echo x 2>/dev/null >/etc/x || echo read-only; ls /usr/local/bin; echo kept >file";
    let out = place.shell("/bin/sh", &*cell, script).await;
    assert_eq!(out, "ID=tiny\nfrom the image\nhooked\nblue /usr/bin:/bin\nread-only\nhook\nmine\n");
    assert_eq!(cell.record().image.as_deref(), Some("sha256:1234"));
    cell.tear_down().await.unwrap();
    assert!(!root.directory.join("usr/local/bin/hook").exists());
    assert_eq!(std::fs::read_to_string(place.path("workspace/file")).unwrap(), "kept\n");
}

/// A cell of its own, or `None` (said why).
async fn world(network: Network) -> Option<World> {
    let place = place(network).await?;
    Some(World::new(Box::new(place.driver), Limits::default()).await)
}

#[tokio::test]
async fn services_of_the_host_are_reached_by_port() {
    let Some(world) = world(Network::None).await else { return };
    services_are_reached(world).await;
}

#[test]
fn a_private_network_leads_out_and_nowhere_else() {
    in_a_world_of_its_own("hidden_private_network");
}

/// Hidden: only in a world of its own.
#[tokio::test]
async fn hidden_private_network() {
    if !is_world_of_its_own() {
        return;
    }
    let Some(world) = world(Network::Private).await else { return };
    leads_out_and_nowhere_else(world).await;
}

#[test]
fn the_same_for_an_ordinary_user() {
    as_an_ordinary_user();
}
