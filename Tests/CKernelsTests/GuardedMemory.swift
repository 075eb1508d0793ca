import Foundation

/// Memory whose end is the end of a mapping: whoever touches the byte behind it crashes.
final class GuardedMemory {
    let base: UnsafeMutableRawPointer
    let count: Int
    private let mapping: UnsafeMutableRawPointer
    private let mapped: Int

    init(count: Int) {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let room = (count + page - 1) / page * page
        mapped = room + page
        let memory = mmap(nil, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0)
        guard let memory, memory != MAP_FAILED, mprotect(memory + room, page, PROT_NONE) == 0 else {
            fatalError("no memory with a guard page: errno \(errno)")
        }
        mapping = memory
        base = memory + (room - count)
        self.count = count
    }

    convenience init(_ bytes: some Collection<UInt8>) {
        self.init(count: bytes.count)
        write(bytes)
    }

    deinit {
        munmap(mapping, mapped)
    }

    var bytes: [UInt8] { Array(UnsafeRawBufferPointer(start: base, count: count)) }

    func write(_ bytes: some Collection<UInt8>) {
        UnsafeMutableRawBufferPointer(start: base, count: count).copyBytes(from: bytes)
    }

    func fill(_ byte: UInt8) {
        memset(base, Int32(byte), count)
    }
}
