import CSystem
import Foundation
import TestSupport
import Testing

/// Memory limits of control groups, on folders that look like the kernel's.
@Suite struct CgroupTests {
    private func limit(_ membership: String, _ files: [String: String]) throws -> UInt64 {
        try Fixtures.withScratchFolder { folder in
            for (path, text) in files {
                let location = URL(fileURLWithPath: folder + "/root/" + path)
                try FileManager.default.createDirectory(
                    at: location.deletingLastPathComponent(), withIntermediateDirectories: true)
                try text.write(to: location, atomically: true, encoding: .utf8)
            }
            try membership.write(toFile: folder + "/membership", atomically: true, encoding: .utf8)
            return lamina_cgroup_memory_limit_bytes(folder + "/root", folder + "/membership")
        }
    }

    @Test func secondVersion() throws {
        #expect(try limit("0::/a/b\n", ["a/b/memory.max": "max\n", "a/memory.max": "1073741824\n"]) == 1 << 30)
        #expect(try limit("0::/a/b\n", ["a/b/memory.max": "4096\n", "a/memory.max": "8192\n"]) == 4096)
        #expect(try limit("0::/a\n", ["a/memory.max": "max\n"]) == 0)
        // In a container the path is the host's, the root the container's.
        #expect(try limit("0::/docker/x\n", ["memory.max": "123456\n"]) == 123456)
        #expect(try limit("0::/\n", ["memory.max": "123456\n"]) == 123456)
    }

    @Test func firstVersion() throws {
        let membership = "9:cpu,cpuacct:/\n5:memory:/job\n0::/\n"
        #expect(try limit(membership, ["memory/job/memory.limit_in_bytes": "500\n"]) == 500)
        #expect(try limit(membership, ["memory/job/memory.limit_in_bytes": "9223372036854771712\n"]) == 0)
        #expect(try limit(membership, ["cpu/memory.limit_in_bytes": "5\n"]) == 0)
    }

    @Test func nonsense() throws {
        #expect(try limit("", [:]) == 0)
        #expect(try limit("no colons\n:\n::\n", [:]) == 0)
        #expect(lamina_cgroup_memory_limit_bytes("/nonexistent", "/nonexistent") == 0)
    }
}
