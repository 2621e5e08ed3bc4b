//! The command's protocol, as third-party runners use it.

use crate::repo::Repo;
use crate::server::Server;
use crate::{Device, files, refused, served, works};

fn now_s() -> i64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// A repository that is valid today, and a device that trusts its first root.
fn begin() -> (Repo, Server, Device) {
    let repo = Repo::valid_from(now_s());
    let (server, device) = (Server::start(), Device::new());
    server.serve(served(&repo));
    works(&device.init(&repo.files["1.root.json"]));
    assert!(server.asked().is_empty());
    (repo, server, device)
}

#[test]
fn metadata_is_kept_as_it_was_served_and_asked_for_once() {
    let (mut repo, server, device) = begin();
    works(&device.refresh(&server));
    let asked = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    assert_eq!(server.asked(), asked.map(|name| format!("metadata/{name}")));
    let kept = files(&device.metadata());
    for (name, served) in [
        ("root.json", "1.root.json"),
        ("root_history/1.root.json", "1.root.json"),
        ("timestamp.json", "timestamp.json"),
        ("snapshot.json", "1.snapshot.json"),
        ("targets.json", "1.targets.json"),
    ] {
        assert_eq!(kept[name], repo.files[served], "{name}");
    }
    assert_eq!(kept.len(), 5);
    works(&device.refresh(&server));
    assert_eq!(server.asked(), ["metadata/2.root.json", "metadata/timestamp.json"]);

    repo.rotate(edgeformer_proto::tuf::TopLevel::Root);
    repo.publish_root();
    repo.bump_targets();
    repo.publish();
    server.serve(served(&repo));
    works(&device.refresh(&server));
    assert_eq!((device.version("root"), device.version("targets")), (Some(2), Some(2)));
    assert_eq!(files(&device.metadata())["root_history/2.root.json"], repo.files["2.root.json"]);
    // To be told of the root once more takes nothing away.
    works(&device.init(&repo.files["1.root.json"]));
    assert_eq!((device.version("root"), device.version("targets")), (Some(1), Some(2)));
    works(&device.refresh(&server));
}

#[test]
fn a_root_that_is_none_starts_nothing() {
    let (repo, server, device) = begin();
    let other = Device::new();
    for bad in [&b"{}"[..], b"", &repo.files["timestamp.json"]] {
        refused(&other.init(bad), "root is refused (step 5.2)");
    }
    refused(&other.refresh(&server), "there is no trusted root");
    assert!(server.asked().is_empty());
    assert!(files(&other.metadata()).is_empty());
    drop(device);
}

#[test]
fn targets_come_in_their_order_until_one_fails_and_none_twice() {
    let (mut repo, server, device) = begin();
    repo.bump_targets();
    repo.delegate("targets", "../models", &["models/*"], false);
    repo.add_target("targets", "top", b"top");
    repo.add_target("../models", "models/a b", b"model");
    repo.add_target("targets", "last", b"last");
    repo.publish();
    let mut all = served(&repo);
    server.serve(all.clone());
    works(&device.download(&server, &["top", "models/a b"]));
    let kept = files(&device.targets());
    assert_eq!((&kept["top"][..], &kept["models%2Fa%20b"][..]), (&b"top"[..], &b"model"[..]));
    assert_eq!(device.version("..%2Fmodels"), Some(1));
    let asked = server.asked();
    assert!(asked.contains(&"metadata/1...%2Fmodels.json".to_owned()), "{asked:?}");
    assert_eq!(asked.iter().filter(|name| name.starts_with("targets/")).count(), 2);

    // What is there is not asked for again; what was damaged is.
    works(&device.download(&server, &["top", "models/a b"]));
    assert!(!server.asked().iter().any(|name| name.starts_with("targets/")));
    std::fs::write(device.targets().join("top"), b"tip").unwrap();
    works(&device.download(&server, &["top"]));
    assert_eq!(files(&device.targets())["top"], b"top");

    refused(&device.download(&server, &["missing", "last"]), "missing: nobody");
    assert_eq!(files(&device.targets()).len(), 2);
    // Other bytes than are listed, fewer and more.
    let place = all.keys().find(|name| name.ends_with(".last")).unwrap().clone();
    for (bad, words) in
        [(&b"lost"[..], "its sha256"), (b"las", "are missing"), (b"last+", "more bytes")]
    {
        all.insert(place.clone(), bad.to_vec());
        server.serve(all.clone());
        refused(&device.download(&server, &["last", "top"]), words);
        assert_eq!(files(&device.targets()).len(), 2, "nothing is left behind");
    }
}

#[test]
fn a_refresh_that_fails_says_why_and_keeps_what_held() {
    let (mut repo, server, device) = begin();
    works(&device.refresh(&server));
    repo.publish();
    let mut all = served(&repo);
    all.remove("metadata/2.snapshot.json");
    server.serve(all);
    refused(&device.refresh(&server), "snapshot version 2 is refused (step 5.5.1)");
    assert_eq!((device.version("timestamp"), device.version("snapshot")), (Some(2), Some(1)));
    server.serve(served(&repo));
    works(&device.refresh(&server));
    repo.expires_s = now_s() - 1;
    repo.publish();
    server.serve(served(&repo));
    refused(&device.refresh(&server), "step 5.4.4");
    assert_eq!(device.version("timestamp"), Some(2));
    drop(server);
    let gone = Server::start();
    let url = gone.url();
    drop(gone);
    let output = device.command().args(["--metadata-url", &url, "refresh"]).output().unwrap();
    refused(&output, "2.root.json");
}

#[test]
fn https_is_spoken_with_who_is_trusted_and_nobody_else() {
    let repo = Repo::valid_from(now_s());
    let device = Device::new();
    works(&device.init(&repo.files["1.root.json"]));
    let (server, other) = (Server::start_tls("localhost"), Server::start_tls("elsewhere"));
    server.serve(served(&repo));
    other.serve(served(&repo));
    refused(&device.refresh(&server), "https needs --ca FILE");
    let refresh = |server: &Server, trusted: &Server| {
        let ca = device.folder.path().join("ca.pem");
        std::fs::write(&ca, trusted.certificate.as_ref().unwrap()).unwrap();
        let url = format!("{}/metadata", server.url());
        let mut command = device.command();
        command.arg("--ca").arg(ca).args(["--metadata-url", &url, "refresh"]).output().unwrap()
    };
    refused(&refresh(&server, &other), "certificate");
    refused(&refresh(&other, &other), "certificate");
    assert!(server.asked().is_empty() && other.asked().is_empty());
    works(&refresh(&server, &server));
    assert_eq!(device.version("targets"), Some(1));
}
