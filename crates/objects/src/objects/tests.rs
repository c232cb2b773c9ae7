use super::*;
use crate::ErrorKind;
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

#[tokio::test]
async fn keys_cannot_leave_the_store() {
    let (_dir, objects) = local();
    let long = "x".repeat(241);
    let keys = [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        ".",
        "a\\b",
        "a\0b",
        "a\nb",
        "a#1",
        "a%2e",
        &long,
        &"a/".repeat(600),
    ];
    for key in keys {
        let put = objects.put(key, Bytes::new()).await.unwrap_err();
        assert_eq!(put.kind(), ErrorKind::Invalid, "{key:?}: {put}");
        assert_eq!(objects.get(key).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(objects.delete(key).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    for key in ["a", "a b/c-d_e.f", "v1/Ünïcode", "1.2.3/x=y,z@w+v"] {
        objects.put(key, Bytes::from_static(b"1")).await.unwrap();
        assert_eq!(objects.get(key).await.unwrap(), "1");
        assert!(objects.list("").await.unwrap().iter().any(|e| e.key == key), "{key}");
    }
    let bad = objects.put("a/../b", Bytes::new()).await.unwrap_err();
    insta::assert_snapshot!(bad, @r#"bad object key "a/../b": it has a segment '.' or '..'"#);
}

#[tokio::test]
async fn damage_is_never_served() {
    let (dir, objects) = local();
    let body = noise(2_500_000);
    objects.put("a", body.clone()).await.unwrap();
    let path = dir.path().join("a");
    let whole = std::fs::read(&path).unwrap();
    for at in [0, 1_200_000, 2_499_999, 2_500_000, 2_500_011, 2_500_012, 2_500_030, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(objects.get("a").await.unwrap_err().kind(), ErrorKind::Corrupt, "at {at}");
        assert_eq!(streamed(&objects, "a").await.unwrap_err().kind(), ErrorKind::Corrupt, "at {at}");
        let range = objects.get_range("a", 1_100_000..1_100_010).await;
        match range {
            Ok(bytes) => assert!(bytes == body.slice(1_100_000..1_100_010) && at != 1_200_000),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupt),
        }
    }
    for length in [0, 10, 64, 68, 1_000_000, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(objects.get("a").await.unwrap_err().kind(), ErrorKind::Corrupt, "length {length}");
        assert_eq!(objects.head("a").await.unwrap_err().kind(), ErrorKind::Corrupt, "length {length}");
    }
    objects.put("a", Bytes::from_static(b"new")).await.unwrap();
    assert_eq!(objects.get("a").await.unwrap(), "new", "a new object heals it");
}

#[tokio::test]
async fn missing_objects_and_bad_ranges_are_told_apart() {
    let (_dir, objects) = local();
    assert_eq!(objects.get("a").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(objects.head("a/b").await.unwrap_err().kind(), ErrorKind::NotFound);
    objects.delete("a").await.unwrap();
    objects.put("a", Bytes::from_static(b"12345")).await.unwrap();
    assert_eq!(objects.get_range("a", 5..5).await.unwrap(), "");
    let behind = objects.get_range("a", 2..6).await.unwrap_err();
    insta::assert_snapshot!(behind, @r#"range 2..6 lies outside object "a" of 5 bytes"#);
}

#[tokio::test]
async fn sweeping_follows_age_and_the_callers_word() {
    let (_dir, objects) = local();
    for key in ["runs/1/a", "runs/1/b", "runs/2/a", "runsheet"] {
        objects.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let stored = objects.list("runs").await.unwrap();
    assert_eq!(stored.len(), 3, "whole segments only");
    let oldest = stored.iter().map(|e| e.modified).min().unwrap();
    let none = objects.sweep("runs", oldest, |_| false).await.unwrap();
    assert_eq!(none, Swept::default(), "nothing is older than the oldest");
    let two = objects.sweep("runs", Timestamp(i64::MAX), |e| e.key == "runs/1/b").await.unwrap();
    assert_eq!(two, Swept { count: 2, bytes: 2 });
    let mut left: Vec<_> = objects.list("").await.unwrap().into_iter().map(|e| e.key).collect();
    left.sort();
    assert_eq!(left, ["runs/1/b", "runsheet"]);
}

#[test]
fn a_wrong_configuration_says_what_is_wrong() {
    let open = |url: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Objects::open(&ObjectsConfig { url: url.into(), options }).unwrap_err().to_string()
    };
    insta::assert_snapshot!(open("objects", &[]), @"object store configuration: 'objects' is neither a URL nor an absolute path");
    insta::assert_snapshot!(open("file://objects", &[]), @"object store configuration: 'file://objects' needs three slashes: file:///…");
    insta::assert_snapshot!(open("s3:///a", &[]), @"object store configuration: 's3:///a' names no bucket");
    insta::assert_snapshot!(open("ftp://a", &[]), @"object store configuration: unknown scheme 'ftp'; known are file, s3, az, gs");
    insta::assert_snapshot!(open("s3://a", &[("regoin", "x")]), @"object store configuration: s3:// has no option 'regoin'");
    let azure = ObjectsConfig {
        url: "az://container/prefix".into(),
        options: [("account_name", "a"), ("account_key", "a2V5")].map(|(k, v)| (k.into(), v.into())).into(),
    };
    Objects::open(&azure).unwrap();
}
