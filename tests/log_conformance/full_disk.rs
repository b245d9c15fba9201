//! The embedded log on a disk that is full.

use tidemill::kafka::log::Log as _;

use crate::small_disk::SmallDisk;
use crate::{config, new_record, open, services};

#[tokio::test]
async fn full_disk_refuses_appends_and_is_ill_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("small");
    let disk = match SmallDisk::mount(&place, 8) {
        Ok(disk) => disk,
        Err(why) => return services::skip("small disk", why),
    };
    let log = open(&place.join("log.db"), &config());
    log.ensure_topics(&[("t".to_owned(), 1)]).await.unwrap();
    let large = || vec![new_record("t", Some(0), vec![b'x'; 500_000])];
    log.append(large()).await.unwrap();
    log.check().await.unwrap();

    disk.fill();
    let refused = loop {
        if let Err(error) = log.append(large()).await {
            break error;
        }
    };
    assert!(refused.is_retriable() && refused.to_string().contains("full"), "{refused}");
    let ill = log.check().await.unwrap_err();
    assert!(ill.is_retriable() && ill.to_string().contains("writing the log failed"), "{ill}");

    disk.make_room();
    log.check().await.unwrap();
    log.append(large()).await.unwrap();
    log.check().await.unwrap();
    log.close();
}
