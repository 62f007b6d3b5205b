//! Listeners and channels: addresses, TLS, credentials, limits, metrics endpoints.
