//! Services: health, ports, names, output.

use crate::world::{World, left_of, options, words};
use fleetfoot_testkit::PrivateEngine;
use std::io::{Read, Write};

pub(crate) async fn services(engine: &PrivateEngine) {
    let world = World::new(options(engine)).await;
    let mut web = world
        .container("--health-cmd 'test -e /tmp/ready' --health-interval 500ms --health-retries 20 --network-alias other-name")
        .await;
    web.ports = vec!["80".into()];
    let script = "echo starting; mkdir -p /www; echo hello > /www/index.html; (sleep 1; touch /tmp/ready) & exec httpd -f -p 80 -h /www";
    web.command = words(&["sh", "-c", script]);
    let service = world.group.service("web", web).await.unwrap();
    world.group.wait_healthy(&service).await.unwrap();
    let port = service.ports["80"];
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello\n"), "{answer}");
    let cell = world.cell("").await;
    for name in ["web", "other-name"] {
        // Podman's name server reads its names anew while other networks come and go.
        let script = format!(
            "for i in $(seq 50); do wget -qO- http://{name}/ 2>/dev/null && exit; sleep 0.2; done; exit 1"
        );
        let (code, out) = world.script(cell.as_ref(), &script).await;
        assert_eq!((code, out.as_str()), (Some(0), "hello\n"), "{name}");
    }
    let logs = world.group.service_logs().await;
    assert_eq!((logs[0].0.as_str(), String::from_utf8_lossy(&logs[0].1).trim()), ("web", "starting"));
    // Without a health check, to run is enough; what ends says why.
    let mut plain = world.container("").await;
    plain.command = words(&["sleep", "600"]);
    let plain = world.group.service("plain", plain).await.unwrap();
    world.group.wait_healthy(&plain).await.unwrap();
    let mut broken = world.container("--health-cmd 'exit 1' --health-interval 1s").await;
    broken.command = words(&["sh", "-c", "echo no such database >&2; exit 3"]);
    let broken = world.group.service("broken", broken).await.unwrap();
    let error = world.group.wait_healthy(&broken).await.unwrap_err().to_string();
    assert!(error.contains("'broken' ended with code 3") && error.contains("no such database"), "{error}");
    let mut ill = world.container("--health-cmd 'exit 1' --health-interval 200ms --health-retries 2").await;
    ill.command = words(&["sh", "-c", "echo feeling bad; exec sleep 600"]);
    let ill = world.group.service("ill", ill).await.unwrap();
    let error = world.group.wait_healthy(&ill).await.unwrap_err().to_string();
    assert!(error.contains("'ill' is unhealthy") && error.contains("feeling bad"), "{error}");
    // Another attempt has a network of its own.
    let stranger = World::new(options(engine)).await;
    let cell = stranger.cell("").await;
    assert_ne!(stranger.script(cell.as_ref(), "wget -T 2 -qO- http://web/").await.0, Some(0));
    stranger.group.tear_down(false).await.unwrap();
    world.group.tear_down(true).await.unwrap();
    assert_eq!(left_of(engine, &world).await, Vec::<String>::new());
}
