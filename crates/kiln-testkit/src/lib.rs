//! Fixtures for tests: a farm of real binaries in a temporary directory, a fake compiler, fault proxies.
