//! Pure decisions: no async, client, clock or randomness in here.
