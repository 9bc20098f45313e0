//! A registry: distribution-spec 1.1 over a store that someone else holds.
