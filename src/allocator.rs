//! Wishes to the C library's allocator, which keeps more memory than a process that serves for months wants
//! it to. The crate's only unsafe code: no safe way leads there. Without glibc both functions do nothing.

/// From this size on memory is the system's business: it goes back as soon as it is free.
#[cfg(target_env = "gnu")]
const DIRECT: i32 = 1024 * 1024;
/// As much as the allocator keeps behind everything in use.
#[cfg(target_env = "gnu")]
const KEPT: i32 = 512 * 1024;

/// Fixes the allocator's limits, before other threads start. By itself it raises them, up to 64 MB that stay
/// with each thread, as soon as something large is freed.
pub fn prepare() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no safe way to ask for it")]
    // SAFETY: both parameters exist and take any size; no other thread runs.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, DIRECT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Gives free memory back to the system, wherever it lies. Takes about a millisecond for 4 MB.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no safe way to ask for it")]
    // SAFETY: it may be called at any time and only touches what the allocator has free.
    unsafe {
        libc::malloc_trim(0);
    }
}
