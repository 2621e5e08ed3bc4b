//! What devices get of their tenant's trust repository: all of their own, nothing of another's.

use edgeformer_proto::tuf::client::{check_initial_root, check_root};
use edgeformer_proto::tuf::{Limits, Signed, Timestamp};
use edgeformer_proto::v1;
use edgeformer_proto::v1::artifacts_client::ArtifactsClient;
use tonic::{Code, Status};

use crate::support::device::{Device, Keys, enrol};
use crate::support::{Controller, tenant};

async fn metadata(
    controller: &Controller,
    device: &Device,
    name: &str,
    max_bytes: u64,
) -> Result<Vec<u8>, Status> {
    let channel = controller.connect(Some(device.identity())).await.unwrap();
    let ask = v1::GetTrustMetadataRequest { name: name.to_owned(), max_bytes };
    let answer = ArtifactsClient::new(channel).get_trust_metadata(ask).await?;
    Ok(answer.into_inner().file.to_vec())
}

#[tokio::test]
async fn a_device_gets_the_root_with_its_certificate_and_the_metadata_of_its_own_tenant() {
    let controller = Controller::start().await;
    let keys = Keys::new();
    let token = controller.token(1).await;
    let answer = enrol(&controller, keys.request(&token, "a")).await.unwrap();
    let root = answer.trusted_root.to_vec();
    let limits = Limits::default();
    let trusted = check_initial_root(&root, &limits).expect("a device can pin it");
    // Asked again, as when an answer was lost.
    let again = enrol(&controller, keys.request(&token, "a")).await.unwrap();
    assert_eq!(again.trusted_root, root);

    let device = Device::enrolled(&controller, "b").await;
    for name in ["root.json", "1.root.json"] {
        assert_eq!(metadata(&controller, &device, name, 1 << 20).await.unwrap(), root, "{name}");
    }
    let timestamp = metadata(&controller, &device, "timestamp.json", 1 << 20).await.unwrap();
    assert!(Signed::<Timestamp>::parse(&timestamp, timestamp.len()).is_ok());
    for name in ["2.root.json", "timestamp", "../root.json", "", "0.root.json"] {
        let status = metadata(&controller, &device, name, 1 << 20).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{name}");
    }
    let status = metadata(&controller, &device, "timestamp.json", 10).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);

    let other = tenant(&controller.app, "other").await;
    let token = controller.token_of(&other, 1, &[]).await;
    let stranger = Device::with_token(&controller, &token, "c").await;
    let theirs = metadata(&controller, &stranger, "root.json", 1 << 20).await.unwrap();
    assert_ne!(theirs, root);
    assert!(matches!(check_root(&trusted, &theirs, &limits), Err(error) if error.step == "5.3.4"));
    controller.stop().await;
}
