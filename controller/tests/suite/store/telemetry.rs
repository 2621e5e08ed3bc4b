use std::collections::BTreeMap;

use edgeformer_controller::housekeeping;
use edgeformer_controller::privacy::Settings;
use edgeformer_controller::scope::TenantScope;
use edgeformer_controller::store::telemetry::{self, Filter};
use edgeformer_controller::telemetry::{Buckets, Point};
use edgeformer_proto::ids::{AuditId, DeviceId};

use crate::on_both_databases;
use crate::support::Db;

fn point(db: &Db, device_id: DeviceId, metric: &str) -> Point {
    Point {
        id: AuditId::new().to_string(),
        device_id,
        metric: metric.to_owned(),
        slot: "assistant".to_owned(),
        version_id: String::new(),
        rollout_id: String::new(),
        at: db.now(),
        received_at: db.now(),
        count: 3,
        sum: 2.0,
        min: None,
        max: Some(1.5),
        buckets: Some(Buckets { bounds: vec![1.0], counts: vec![2, 1] }),
        attributes: BTreeMap::from([("error.type".to_owned(), "timeout".to_owned())]),
    }
}

async fn add(db: &Db, scope: &TenantScope, points: &[Point]) {
    let mut write = db.store.write_observation(scope).await.unwrap();
    telemetry::insert(&mut write, points).await.unwrap();
    write.commit(db.now()).await.unwrap();
}

async fn found(db: &Db, scope: &TenantScope, filter: &Filter, after: &str) -> Vec<Point> {
    let mut read = db.store.read(scope).await.unwrap();
    telemetry::list(&mut read, filter, after, 1000).await.unwrap()
}

on_both_databases! {
    async fn old_points_are_forgotten_and_newer_ones_kept(db: Db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let device = DeviceId::new();
        add(&db, &a, &(0..2_500).map(|_| point(&db, device, "m")).collect::<Vec<_>>()).await;
        add(&db, &b, &[point(&db, device, "m")]).await;
        db.advance(Settings::default().telemetry());
        add(&db, &a, &[point(&db, device, "new")]).await;
        assert_eq!(housekeeping::tidy(&db.store, db.now()).await.unwrap(), 0, "to the microsecond");
        db.advance(std::time::Duration::from_secs(1));
        assert_eq!(housekeeping::tidy(&db.store, db.now()).await.unwrap(), 2_501);
        let left = found(&db, &a, &Filter::default(), "").await;
        assert_eq!(left.iter().map(|p| p.metric.as_str()).collect::<Vec<_>>(), ["new"]);
    }

    async fn points_read_back_in_order_by_device_metric_and_time(db: Db) {
        let scope = db.tenant("a").await;
        let (one, two) = (DeviceId::new(), DeviceId::new());
        // More than one statement's worth of rows.
        let mut points: Vec<Point> = (0..120).map(|_| point(&db, one, "m")).collect();
        points.push(Point { buckets: None, min: Some(0.25), ..point(&db, two, "n") });
        add(&db, &scope, &points).await;
        db.advance(std::time::Duration::from_secs(60));
        let late = point(&db, one, "m");
        add(&db, &scope, std::slice::from_ref(&late)).await;

        let all = found(&db, &scope, &Filter::default(), "").await;
        assert_eq!(all.len(), 122);
        assert_eq!(all[..121], points);
        let of_two = Filter { device_id: Some(two), ..Filter::default() };
        assert_eq!(found(&db, &scope, &of_two, "").await, points[120..]);
        let of_metric = Filter { metric: "n".to_owned(), ..Filter::default() };
        assert_eq!(found(&db, &scope, &of_metric, "").await, points[120..]);
        let recent = Filter { since: Some(db.now()), ..Filter::default() };
        assert_eq!(found(&db, &scope, &recent, "").await, std::slice::from_ref(&late));
        let rest = found(&db, &scope, &Filter::default(), &points[120].id).await;
        assert_eq!(rest, std::slice::from_ref(&late));
    }

    async fn points_of_another_tenant_do_not_exist(db: Db) {
        let (mine, theirs) = (db.tenant("a").await, db.tenant("b").await);
        add(&db, &theirs, &[point(&db, DeviceId::new(), "m")]).await;
        assert!(found(&db, &mine, &Filter::default(), "").await.is_empty());
    }
}
