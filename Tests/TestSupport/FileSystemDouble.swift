import TensorCore

/// A file system that stands before another one: what it does not say itself is done there.
public protocol FileSystemDouble: FileSystem {
    associatedtype Base: FileSystem
    var real: Base { get }
}

extension FileSystemDouble {
    public func open(_ path: String, _ mode: OpenMode) -> Int32 { real.open(path, mode) }
    public func close(_ descriptor: Int32) -> Int32 { real.close(descriptor) }
    public func read(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int64 {
        real.read(descriptor, into: buffer, at: offset)
    }
    public func write(_ descriptor: Int32, from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int64 {
        real.write(descriptor, from: buffer, at: offset)
    }
    public func truncate(_ descriptor: Int32, to size: UInt64) -> Int32 { real.truncate(descriptor, to: size) }
    public func sync(_ descriptor: Int32) -> Int32 { real.sync(descriptor) }
    public func facts(of descriptor: Int32) -> Result<FileFacts, SystemError> { real.facts(of: descriptor) }
    public func facts(at path: String, followLinks: Bool) -> Result<FileFacts, SystemError> {
        real.facts(at: path, followLinks: followLinks)
    }
    public func rename(_ from: String, to: String) -> Int32 { real.rename(from, to: to) }
    public func renameNew(_ from: String, to: String) -> Int32 { real.renameNew(from, to: to) }
    public func unlink(_ path: String) -> Int32 { real.unlink(path) }
    public func makeDirectory(_ path: String) -> Int32 { real.makeDirectory(path) }
    public func removeDirectory(_ path: String) -> Int32 { real.removeDirectory(path) }
    public func lock(_ descriptor: Int32) -> Int32 { real.lock(descriptor) }
    public func dropCache(_ descriptor: Int32) -> Int32 { real.dropCache(descriptor) }
    public func adviseSequential(_ descriptor: Int32) -> Int32 { real.adviseSequential(descriptor) }
    public func freeBytes(at path: String) -> Result<UInt64, SystemError> { real.freeBytes(at: path) }
    public func list(_ path: String) -> Result<[String], SystemError> { real.list(path) }
    public func canonicalPath(_ path: String) -> Result<String, SystemError> { real.canonicalPath(path) }
    public func exchange(_ first: String, _ second: String) -> Int32 { real.exchange(first, second) }
    public func open(_ name: String, in directory: Int32, _ mode: OpenMode) -> Int32 {
        real.open(name, in: directory, mode)
    }
    public func facts(of name: String, in directory: Int32) -> Result<FileFacts, SystemError> {
        real.facts(of: name, in: directory)
    }
    public func unlink(_ name: String, in directory: Int32) -> Int32 { real.unlink(name, in: directory) }
    public func linkTarget(of name: String, in directory: Int32) -> Result<String, SystemError> {
        real.linkTarget(of: name, in: directory)
    }
}
