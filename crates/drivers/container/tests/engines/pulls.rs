//! Images of registries: mirrors, credentials, faults.

use crate::world::{World, left_of, options, words};
use fleetfoot_driver::DriverErrorKind;
use fleetfoot_driver::containers::{Container, Containers, Credentials, ImageSource};
use fleetfoot_driver_conformance::fresh_tag;
use fleetfoot_driver_container::{ContainerOptions, Endpoint, Pull};
use fleetfoot_testkit::{EngineKind, FakeRegistry, PrivateEngine};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(crate) async fn pulls(engine: &PrivateEngine, open: &FakeRegistry, private: &FakeRegistry) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bin")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists()).unwrap();
    std::fs::copy(busybox, root.path().join("bin/sh")).unwrap();
    let digest = open.add("library/thing", "1", root.path(), &["PATH=/bin", "WHERE=mirror"]);
    let _ = private.add("team/app", "2", root.path(), &["WHERE=private"]);
    private.make_private();
    let mut config = options(engine);
    config.pull = Pull::Always;
    config.mirrors = vec![format!("http://{}", open.host())];
    let world = World::new(config.clone()).await;
    let pull = async |world: &World, reference: &str, who: Option<(&str, &str)>| {
        let credentials = who.map(|(u, p)| Credentials { username: u.into(), password: p.into() });
        world.group.image(&ImageSource::Reference { reference: reference.into(), credentials }).await
    };
    // From the mirror, by name and by digest.
    let image = pull(&world, "thing:1", None).await.unwrap();
    assert_eq!(image.digest.as_deref(), Some(digest.as_str()), "{image:?}");
    assert!(image.env.contains(&("WHERE".into(), "mirror".into())));
    let notes = world.notes.lock().unwrap().clone();
    assert!(notes.iter().any(|n| n.starts_with("pulling 127.0.0.1")) && notes.len() < 10, "{notes:?}");
    let same = pull(&world, &format!("{}/library/thing@{digest}", open.host()), None).await.unwrap();
    assert_eq!(same.id, image.id);
    let (code, _, out) = world
        .action(Container {
            image,
            command: words(&["/bin/sh", "-c", "echo $WHERE"]),
            ..world.container("").await
        })
        .await;
    assert_eq!((code, out.as_str()), (Some(0), "mirror\n"));
    // Not there, not allowed, not right, right.
    let error = pull(&world, &format!("{}/library/none:1", open.host()), None).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::NotFound, "{error}");
    let app = format!("{}/team/app:2", private.host());
    for who in [None, Some(("user", "wrong-password"))] {
        let error = pull(&world, &app, who).await.unwrap_err();
        assert!(
            error.kind == DriverErrorKind::Denied && !error.to_string().contains("wrong-password"),
            "{error}"
        );
    }
    let image = pull(&world, &app, Some(("user", "secret"))).await.unwrap();
    assert!(image.env.contains(&("WHERE".into(), "private".into())));
    // What is here is not for those who may not have it; a registry that is down is another matter.
    assert_eq!(pull(&world, &app, None).await.unwrap_err().kind, DriverErrorKind::Denied);
    private.set_down(true);
    let again = pull(&world, &app, Some(("user", "secret"))).await.unwrap();
    assert_eq!(again.id, image.id);
    let error = pull(&world, &format!("{}/team/other:1", private.host()), None).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable, "{error}");
    private.set_down(false);
    let error = pull(&world, "127.0.0.1:1/nobody/there:1", None).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable, "{error}");
    // The runner's own credentials; the mirror is down, and the registry itself is asked.
    let file = world.dir.path().join("config.json");
    std::fs::write(
        &file,
        format!("{{\"auths\":{{\"{}\":{{\"auth\":\"dXNlcjpzZWNyZXQ=\"}}}}}}", private.host()),
    )
    .unwrap();
    let own = World::new(ContainerOptions { credentials_file: Some(file), ..config }).await;
    pull(&own, &app, None).await.unwrap();
    for world in [&world, &own] {
        world.group.tear_down(false).await.unwrap();
        world.engine.close().await;
    }
    assert_eq!(left_of(engine, &world).await, Vec::<String>::new());
}

/// Pulls with what a program says, in a process of its own: programs are found in `PATH`.
#[tokio::test]
#[ignore = "started by another test, in a process of its own"]
async fn with_a_program() {
    let Ok(socket) = std::env::var("FF_SOCKET") else { return };
    let (registry, file) = (std::env::var("FF_REGISTRY").unwrap(), std::env::var("FF_CONFIG").unwrap());
    let base = ContainerOptions {
        tag: fresh_tag(),
        endpoint: Endpoint::Socket(socket.into()),
        directory: Some(tempfile::tempdir().unwrap().keep()),
        credentials_file: Some(file.clone().into()),
        ..ContainerOptions::default()
    };
    let (app, base_image) = (format!("{registry}/team/app:3"), format!("FROM {registry}/team/app:3\n"));
    // One program for all registries, and one for this; the one that is told goes first.
    for config in [
        "{\"credsStore\":\"right\"}".to_owned(),
        format!("{{\"credsStore\":\"broken\",\"credHelpers\":{{\"{registry}\":\"right\"}}}}"),
    ] {
        std::fs::write(&file, config).unwrap();
        let world = World::new(base.clone()).await;
        let source = ImageSource::Reference { reference: app.clone(), credentials: None };
        let image = world.group.image(&source).await.unwrap();
        assert!(image.env.contains(&("WHERE".into(), "program".into())), "{image:?}");
        std::fs::write(world.workspace().join("Dockerfile"), &base_image).unwrap();
        let source = ImageSource::Build { context: world.workspace(), dockerfile: "Dockerfile".into() };
        world.group.image(&source).await.unwrap();
        world.group.tear_down(false).await.unwrap();
        world.engine.close().await;
    }
    for (program, said) in [
        ("wrong", "check the user and password"),
        ("broken", "docker-credential-broken get failed (exit status: 1): the store is locked"),
        ("absent", "the program docker-credential-absent is not in PATH; next: "),
        ("empty", "the registry wants credentials"),
    ] {
        std::fs::write(&file, format!("{{\"credsStore\":\"{program}\"}}")).unwrap();
        let world = World::new(base.clone()).await;
        let source = ImageSource::Reference { reference: app.clone(), credentials: None };
        let error = world.group.image(&source).await.unwrap_err();
        assert!(
            error.kind == DriverErrorKind::Denied && error.to_string().contains(said),
            "{program}: {error}"
        );
        assert!(!error.to_string().contains("not-the-secret"), "{error}");
        println!("{error}");
        world.group.tear_down(true).await.unwrap();
        world.engine.close().await;
    }
}

pub(crate) async fn programs_for_credentials(engine: &PrivateEngine, private: &FakeRegistry) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    let _ = private.add("team/app", "3", &dir.path().join("root"), &["WHERE=program"]);
    private.make_private();
    let answer = |secret: &str| {
        format!(
            "read registry; test \"$1\" = list && echo '{{\"{0}\":\"user\"}}' && exit; test \"$registry\" = {0} || exit 1
             echo '{{\"ServerURL\":\"{0}\",\"Username\":\"user\",\"Secret\":\"{secret}\"}}'",
            private.host()
        )
    };
    for (name, script) in [
        ("right", answer("secret")),
        ("wrong", answer("not-the-secret")),
        ("broken", "echo the store is locked; exit 1".to_owned()),
        ("empty", "echo credentials not found in native keychain; exit 1".to_owned()),
    ] {
        let path = dir.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "pulls::with_a_program", "--ignored", "--nocapture"]);
    command.env("PATH", path).env("FF_SOCKET", engine.socket()).env("FF_REGISTRY", private.host());
    command.env("FF_CONFIG", dir.path().join("config.json"));
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

/// An image that does not fit: the error says so, and what fits can be used afterwards.
pub(crate) async fn a_full_disk(kind: EngineKind) {
    let registry = FakeRegistry::new();
    let Some(engine) = PrivateEngine::start_on_a_small_disk(kind, &[registry.host()], 24 << 20) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let chance = std::fs::File::open("/dev/urandom").unwrap();
    let mut large = std::fs::File::create(dir.path().join("large")).unwrap();
    std::io::copy(&mut std::io::Read::take(chance, 40 << 20), &mut large).unwrap();
    let _ = registry.add("team/large", "1", dir.path(), &[]);
    let world = World::new(ContainerOptions { pull: Pull::Always, ..options(&engine) }).await;
    let reference = format!("{}/team/large:1", registry.host());
    let error =
        world.group.image(&ImageSource::Reference { reference, credentials: None }).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::DiskFull, "{error}");
    assert!(error.to_string().contains("next: "), "{error}");
    println!("{}: {error}", kind.label());
    let here = World::new(options(&engine)).await;
    let cell = here.cell("").await;
    let (code, out) =
        here.script(cell.as_ref(), "head -c 60000000 /dev/zero > /file; code=$?; rm /file; exit $code").await;
    // (Podman cannot remove a container while there is no space at all.) Not all kinds of disks say which error it is.
    assert!(
        code != Some(0) && (out.contains("No space left") || out.contains("I/O error")),
        "{code:?} {out}"
    );
    for world in [&world, &here] {
        world.group.tear_down(true).await.unwrap();
        assert_eq!(left_of(&engine, world).await, Vec::<String>::new());
    }
}
