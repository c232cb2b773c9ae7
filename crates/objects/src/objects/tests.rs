use super::*;
use tempfile::TempDir;

fn local() -> (TempDir, Objects) {
    let dir = TempDir::new().unwrap();
    let objects = Objects::open(&ObjectsConfig::directory(dir.path())).unwrap();
    (dir, objects)
}

fn noise(length: usize) -> Bytes {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&length.to_le_bytes()).finalize_xof().fill(&mut out);
    out.into()
}

async fn streamed(objects: &Objects, key: &str) -> Result<Vec<u8>, ObjectError> {
    let mut out = Vec::new();
    let mut stream = objects.stream(key).await?;
    while let Some(piece) = stream.next().await? {
        out.extend_from_slice(&piece);
    }
    Ok(out)
}

#[tokio::test]
async fn what_is_put_comes_back() {
    let (_dir, objects) = local();
    for length in [0, 1, 3, 1 << 20, (1 << 20) + 1, 5_000_000, (8 << 20) + 1, 20_000_000] {
        let (key, body) = (format!("a/{length}"), noise(length));
        let pieces: Vec<_> = body.chunks(700_001).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let info = objects.put_stream(&key, futures_util::stream::iter(pieces)).await.unwrap();
        assert_eq!((info.length, info.digest), (length as u64, Digest::of(&body)));
        assert_eq!(objects.head(&key).await.unwrap(), info);
        assert_eq!(objects.get(&key).await.unwrap(), body);
        assert_eq!(streamed(&objects, &key).await.unwrap(), body);
        let (from, to) = (length / 3, length - length / 7);
        assert_eq!(objects.get_range(&key, from as u64..to as u64).await.unwrap(), body.slice(from..to));
    }
    objects.check().await.unwrap();
}
