//! The file system of an image as a directory, made once per image. It must
//! never be seen half made: it appears under its name when it is whole.

use crate::engine::remove_container;
use crate::group::ContainerGroup;
use crate::names;
use bollard::models::ContainerCreateBody;
use fleetfoot_driver::containers::Image;
use fleetfoot_driver::{DriverError, DriverErrorKind};
use futures_util::StreamExt;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

pub(crate) async fn unpack(group: &ContainerGroup, image: &Image) -> Result<PathBuf, DriverError> {
    let roots = group.shared.directory.join("roots");
    let name: String = image.id.chars().filter(char::is_ascii_alphanumeric).collect();
    let target = roots.join(&name);
    if target.join("root").is_dir() {
        return Ok(target.join("root"));
    }
    let broken = |e| DriverError::io(format!("cannot unpack the image '{}'", image.reference), e);
    let half = roots.join(format!("{name}.{}.{}", std::process::id(), group.shared.next()));
    std::fs::create_dir_all(half.join("root")).map_err(broken)?;
    let client = &group.shared.client;
    let body = ContainerCreateBody {
        image: Some(image.id.clone()),
        // It is never started; an image without a command needs one nevertheless.
        cmd: Some(vec!["none".into()]),
        labels: Some(names::labels(&group.shared.tag, group.request.cell.attempt, "helper")),
        network_disabled: Some(true),
        ..ContainerCreateBody::default()
    };
    let made = client.call("make a container to unpack", client.docker.create_container(None, body)).await?;
    let result = extract(group, &made.id, &half.join("root")).await;
    let removed = remove_container(client, &made.id).await;
    if let Err(e) = result.and(removed) {
        let _ = std::fs::remove_dir_all(&half);
        return Err(e);
    }
    match std::fs::rename(&half, &target) {
        // Somebody else was faster: the same image is the same directory.
        Err(_) if target.join("root").is_dir() => std::fs::remove_dir_all(&half).map_err(broken)?,
        other => other.map_err(broken)?,
    }
    Ok(target.join("root"))
}

async fn extract(group: &ContainerGroup, id: &str, target: &std::path::Path) -> Result<(), DriverError> {
    let client = &group.shared.client;
    let failed =
        |why: String| DriverError::new(DriverErrorKind::Other, format!("cannot unpack the image: {why}"));
    let mut tar = tokio::process::Command::new("tar")
        .args([
            "--extract",
            "--numeric-owner",
            "--preserve-permissions",
            "--file=-",
            "--exclude=dev/*",
            "--directory",
        ])
        .arg(target)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            DriverError::io("cannot start tar, which unpacks images; next: apt-get install tar", e)
        })?;
    let mut stream = client.docker.export_container(id);
    let mut input = tar.stdin.take().ok_or_else(|| failed("no input".into()))?;
    let feed = async {
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|e| crate::error::engine(&client.endpoint, "read the image", &e))?;
            // If tar ended early, its own words say why.
            if input.write_all(&piece).await.is_err() {
                break;
            }
        }
        drop(input);
        Ok::<_, DriverError>(())
    };
    let work = async {
        feed.await?;
        let output = tar.wait_with_output().await.map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let kind =
            if text.contains("No space left") { DriverErrorKind::DiskFull } else { DriverErrorKind::Other };
        Err(DriverError::new(
            kind,
            format!("cannot unpack the image: {}", text.lines().next().unwrap_or_default()),
        ))
    };
    tokio::time::timeout(group.shared.options.pull_timeout, work)
        .await
        .unwrap_or_else(|_| Err(failed("it took too long".into())))
}
