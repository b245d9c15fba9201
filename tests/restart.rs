//! What a restart keeps: mailbox, queued messages, order, and the message in flight.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/virtual_time.rs"]
mod virtual_time;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemill::supervisors::{
    Actor, ChildSpec, Context, Fault, MessageCounts, RestartCounts, SupervisorSpec, mailbox, start,
};
use virtual_time::{here, in_virtual_time};

/// What was handled, in order.
type Seen = Arc<Mutex<Vec<u32>>>;

/// Panics once on each message of `panics`.
struct Fragile {
    seen: Seen,
    panics: Arc<Mutex<Vec<u32>>>,
    /// Messages handled by this incarnation.
    handled: u32,
}

impl Actor for Fragile {
    type Message = u32;

    async fn handle(&mut self, batch: Vec<u32>, _ctx: &Context<u32>) -> Result<(), Fault> {
        for message in batch {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let position = self.panics.lock().iter().position(|bad| *bad == message);
            if let Some(position) = position {
                self.panics.lock().remove(position);
                panic!("cannot stand {message}");
            }
            self.handled += 1;
            self.seen.lock().push(message);
        }
        Ok(())
    }
}

const MESSAGES: u32 = 100;

#[test]
fn panic_restarts_actor_and_keeps_mailbox() {
    in_virtual_time(async {
        let (to, inbox) = mailbox("fragile", 16);
        let seen = Seen::default();
        let panics = Arc::new(Mutex::new(vec![7, 42, 42, 99]));
        let kept = seen.clone();
        let child = ChildSpec::actor("fragile", inbox, move || Fragile {
            seen: kept.clone(),
            panics: panics.clone(),
            handled: 0,
        });
        let tree = start(SupervisorSpec::new("root").child(child), here()).await.unwrap();
        for message in 0..MESSAGES {
            to.send(message).await.unwrap();
            assert!(to.depth() <= 16);
        }
        let report = tree.stop().await;
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(*seen.lock(), (0..MESSAGES).collect::<Vec<_>>(), "each once, in order");
        let status = tree.child_status("fragile").unwrap();
        let expected = RestartCounts { panicked: 4, ..RestartCounts::default() };
        assert_eq!(status.restarts, expected);
        let counts = MessageCounts { received: u64::from(MESSAGES), done: u64::from(MESSAGES), dead: 0, dropped: 0 };
        assert_eq!(status.mailbox.unwrap().messages, counts);
    });
}
