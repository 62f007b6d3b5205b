//! Generated kiln.v1 messages and services, the Remote Execution API, and conversions to kiln-cas.
