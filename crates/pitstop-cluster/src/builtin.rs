//! Controllers inside the process: scheduler, node lifecycle, garbage collection, namespaces, service accounts, pod GC.
