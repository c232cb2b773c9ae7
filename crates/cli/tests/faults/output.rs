//! Output that no terminal would like: as it was written, so it is read.

use crate::support::*;
use fleetfoot_testkit::{TestRunner, TestServer};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::process::Stdio;

const LINE: usize = 100_000_000;

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_line_of_100_megabytes_nul_bytes_and_invalid_utf8_stay_as_they_are() {
    let server = TestServer::server(BINARY, &[]);
    let runner = TestRunner::start(&server, "loud", 1, &["linux"]);
    let api = Api::of(&server);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("noise");
    let mut sum = Sha256::new();
    {
        let mut file = std::fs::File::create(&path).unwrap();
        let mut write = |bytes: &[u8]| {
            sum.update(bytes);
            file.write_all(bytes).unwrap();
        };
        // Every byte but the line feed, in an order that changes from block to block.
        let mut block: Vec<u8> = (0..=255u8).filter(|b| *b != b'\n').collect();
        block = block.repeat(1 << 12);
        let mut left = LINE;
        while left > 0 {
            let part = left.min(block.len());
            write(&block[..part]);
            left -= part;
            block.rotate_left(7);
        }
        write(b"\n\0\0\xff\xfe\xc3\x28\xe2\x82\n\r\r\x1b[31m\0no end of line");
    }
    // Nothing is taken for a command of a workflow: "::" does not occur.
    let created = api.submit(&one_step(&format!("cat {}", path.display())));
    let ended = api.ended_job(&created, LONG);
    succeeded(&ended);

    let mut child =
        server.cli().command(&["logs", &ended.id.to_string()]).stderr(Stdio::inherit()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut got, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = stdout.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        got.update(&buffer[..read]);
        length += read;
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(length as u64, std::fs::metadata(&path).unwrap().len());
    assert_eq!(hex(got.finalize()), hex(sum.finalize()));
    // Neither side held the line in memory.
    for (who, pid) in [("server", server.pid()), ("runner", runner.pid())] {
        let bytes = fleetfoot_testkit::resident_bytes(pid);
        assert!(bytes < 400 << 20, "{who} holds {bytes} bytes");
    }
}
