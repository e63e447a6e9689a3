//! Running code that is not ours: replicas, closures, wakers, and what their values do when they are dropped.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `call`; a panic becomes its message.
pub(crate) fn contained<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (None, Some(text)) => text.clone(),
            (None, None) => "without a message".to_owned(),
        };
        dispose(payload);
        message
    })
}

/// What somebody panicked with may panic in turn when it is dropped. Then it is not dropped to its end, and that is that.
fn dispose(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(another);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("also when dropped");
        }
    }

    #[test]
    fn a_panic_becomes_its_message_whatever_it_panicked_with() {
        assert_eq!(contained(|| 7), Ok(7));
        assert_eq!(contained(|| panic!("once")), Err::<(), _>("once".to_owned()));
        assert_eq!(contained(|| panic!("{}", 2)), Err::<(), _>("2".to_owned()));
        assert_eq!(contained(|| std::panic::panic_any(Bomb)), Err::<(), _>("without a message".to_owned()));
    }
}
