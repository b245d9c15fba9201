//! The arithmetic of a transformer layer on plain slices, forward and backward, shared by encoder, sentiment model and
//! its training.
//!
//! Texts are never padded: all tokens of a batch lie one below the other in one row-major matrix, and only attention
//! looks at where one text ends. Each kernel is compiled twice, for any processor and for AVX2 with FMA, and chooses
//! when it is called; both follow the same order of operations for a text whatever else is in the batch.

#![expect(
    clippy::inline_always,
    reason = "a kernel is compiled for a processor's features only where its body is inlined into the function that has them"
)]
#![expect(clippy::cast_precision_loss, reason = "sizes of matrices, far below 2^24")]
#![expect(clippy::many_single_char_names, reason = "the letters of the formulas")]

pub mod attention;
pub mod gelu;
pub mod linear;
pub mod math;
pub mod norm;
pub mod pool;

/// Compiles `$body` for AVX2 with FMA and for any processor, and chooses at run time.
macro_rules! accelerated {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $ty),*) {
                    $body::<true>($($arg),*);
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has both features, as found in the line above.
                    unsafe { wide($($arg),*) };
                    return;
                }
            }
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*);
        }
    };
}
pub(crate) use accelerated;
