//! What a condition says.

closed! {
    /// `status` of a condition.
    Status {
        /// It holds.
        True,
        /// It does not hold.
        False,
        /// Nobody knows; also what a missing condition reads as.
        Unknown,
    }
}
