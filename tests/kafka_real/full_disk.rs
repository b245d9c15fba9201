//! A broker whose disk is full: it ends, as all its logs are on that disk, and comes back once there is room.

use std::sync::Arc;

use serde_json::Value;

use crate::faults::{Scenario, each_is_stored, fresh};
use crate::kafka::{Kafka, Kind};
use crate::services::{PATIENCE, eventually, skip, users_own};
use crate::small_disk::SmallDisk;

/// Has the broker keep its logs on a disk of its own.
fn on_a_small_disk(broker: &mut Kafka) -> Result<SmallDisk, String> {
    let data = broker.data();
    let disk = data.with_file_name("disk");
    let mounted = SmallDisk::mount(&disk, 48)?;
    let moved = std::process::Command::new("mv").arg(&data).arg(disk.join("data")).status();
    if !moved.is_ok_and(|status| status.success()) {
        return Err("the formatted directory could not be moved".to_owned());
    }
    std::os::unix::fs::symlink(disk.join("data"), &data).map_err(|error| error.to_string())?;
    Ok(mounted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_room_ends_readiness_and_loses_nothing_once_it_has_room() {
    if users_own("kafka").is_some() {
        return skip("kafka", "the user's own server must not be stopped");
    }
    let mut broker = given!(Kafka::stopped(Kind::Plain));
    let disk = match on_a_small_disk(&mut broker) {
        Ok(disk) => disk,
        Err(why) => return skip("a small disk", why),
    };
    tokio::task::block_in_place(|| broker.restart()).unwrap();
    let scenario = Arc::new(Scenario::new(&broker, &[]));
    let daemon = scenario.daemon("daemon", &[]).await;
    let samples = Arc::new(fresh(2_000, 51));
    let producing = tokio::spawn({
        let (scenario, samples) = (Arc::clone(&scenario), Arc::clone(&samples));
        async move { scenario.produce(&samples).await }
    });
    eventually(PATIENCE, async || {
        let (_, health) = daemon.get("/health").await;
        if health["counts"]["stored"].as_u64() > Some(100) { Ok(()) } else { Err(health.to_string()) }
    })
    .await
    .unwrap();
    disk.fill();
    let ready = daemon.wait_for("/health/ready", "readiness ends", |ready| ready["ready"] == Value::Bool(false)).await;
    let log = &ready["dependencies"][0];
    assert!(log["name"] == "log" && log["detail"].as_str().is_some_and(|it| it.contains("unavailable")), "{ready}");
    assert!(broker.output().contains("No space left on device"), "{}", broker.output());
    disk.make_room();
    broker.kill();
    tokio::task::block_in_place(|| broker.restart()).unwrap();
    producing.await.unwrap();
    scenario.each_is_published_once(&samples, &[&daemon]).await;
    each_is_stored(&samples, &daemon).await;
    daemon.wait_for("/health/ready", "ready again", |ready| ready["ready"] == Value::Bool(true)).await;
    // the broker must not look at its disk once it is gone
    broker.kill();
    drop(disk);
}
