//! The gVisor boundary: cells on a user-space kernel, through `runsc`.
