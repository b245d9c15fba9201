//! Memory that the allocator keeps for later.

/// Gives what is free back to the system: for the end of work that needed far more than the daemon does else, as the
/// allocator by itself keeps most of it. Takes some milliseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: it takes no pointer and may be called at any time by any thread (malloc_trim(3)).
        unsafe { malloc_trim(0) };
    }
}
