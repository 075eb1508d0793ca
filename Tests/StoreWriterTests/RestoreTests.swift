import CKernels
import Foundation
import Glibc
import LayerStore
import TensorCore
import TestSupport
import Testing

@testable import StoreWriter

/// Checkpoints out of stores, byte for byte, whatever happens on the way.
@Suite struct RestoreTests {
    private func failure(_ body: () throws(LaminaError) -> Void) -> LaminaError? {
        do throws(LaminaError) {
            try body()
            return nil
        } catch { return error }
    }

    private func write(_ bytes: Data, _ path: String) throws { try bytes.write(to: URL(fileURLWithPath: path)) }

    @Test(arguments: [1024, 4096, 1 << 20])
    func givesTheOriginalsBack(_ chunkBytes: Int) throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder, chunkBytes: chunkBytes)
            let originals = try fixture.originals()
            let tables = [LAMINA_ISA_PORTABLE, LAMINA_ISA_AVX2, LAMINA_ISA_AVX512, LAMINA_ISA_NEON]
            for (index, isa) in tables.enumerated() {
                let kernels = try #require(lamina_kernels_for(isa))
                let finished = try fixture.restore(to: folder + "/\(index)", threads: index + 1, kernels: kernels)
                #expect(try SmallConversion.contents(folder + "/\(index)") == originals)
                #expect(finished.map(\.name).prefix(3) == fixture.names[...])
                #expect(finished.last?.name == "model.safetensors.index.json")
                for file in finished {
                    let bytes = try #require(originals[file.name])
                    #expect(file.digest == SHA256.digest(of: Array(bytes)))
                    #expect(file.size == UInt64(bytes.count))
                    #expect(!file.wasThere)
                }
            }
        }
    }

    /// Every system call fails once, and from then on: an error, only complete files under their names, and the next run
    /// completes them.
    @Test(arguments: [EIO, ENOSPC], [false, true])
    func everyFailingCallIsSurvived(_ error: Int32, _ isPersistent: Bool) throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let fixture = try RestoreFixture(in: folder, chunkBytes: 1 << 20)
            let originals = try fixture.originals()
            try surviveEveryFault(error, isPersistent, folder + "/out", originals) {
                (fileSystem) throws(LaminaError) in
                _ = try fixture.restore(to: folder + "/out", in: fileSystem, threads: 1)
            }
        }
    }

    @Test(arguments: [EIO, ENOSPC], [false, true])
    func exportSurvivesEveryFailingCall(_ error: Int32, _ isPersistent: Bool) throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let fixture = try RestoreFixture(in: folder, chunkBytes: 1 << 20)
            try fixture.export(to: folder + "/whole")
            let expected = try SmallConversion.contents(folder + "/whole")
            try surviveEveryFault(error, isPersistent, folder + "/out", expected) { (fileSystem) throws(LaminaError) in
                _ = try fixture.export(to: folder + "/out", in: fileSystem, threads: 1)
            }
        }
    }

    private func surviveEveryFault(
        _ error: Int32, _ isPersistent: Bool, _ output: String, _ expected: [String: Data],
        _ run: (any FileSystem) throws(LaminaError) -> Void
    ) throws {
        for number in 1... {
            let faulty = FaultyFileSystem(fault: .init(number: number, error: error, isPersistent: isPersistent))
            let problem = failure { () throws(LaminaError) in try run(faulty) }
            if faulty.callCount < number {
                #expect(problem == nil)
                #expect(try SmallConversion.contents(output) == expected)
                #expect(number > 50, "the loop reached the end")
                return
            }
            if let problem { #expect([.io, .cannotCreate, .missing].contains(problem.kind), "\(problem)") }
            for (name, bytes) in try SmallConversion.contents(output) where !name.hasPrefix(".") {
                #expect(bytes == expected[name], "call \(number): \(name)")
            }
            try run(RealFileSystem())
            #expect(try SmallConversion.contents(output) == expected, "call \(number)")
            try FileManager.default.removeItem(atPath: output)
        }
    }

    @Test func shortCountsAndInterruptionsChangeNothing() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            try fixture.restore(to: folder + "/out", in: FaultyFileSystem(shortCount: 1000, interruptEvery: 3))
            #expect(try SmallConversion.contents(folder + "/out") == fixture.originals())
        }
    }

    @Test func interruptedRunsAreCompleted() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            let originals = try fixture.originals()
            let total = UInt64(originals.values.reduce(0) { $0 + $1.count })
            for bytes in [0, total / 4, total / 2, total - 10] {
                let output = folder + "/out\(bytes)"
                #expect(failure { () throws(LaminaError) in try fixture.restore(to: output, stopAfter: bytes) } != nil)
                for (name, content) in try SmallConversion.contents(output) { #expect(content == originals[name]) }
                // What a killed run leaves behind goes; what only looks like it stays.
                try write(Data([1]), output + "/.model.safetensors.abc123.tmp")
                try write(Data([2]), output + "/.model.safetensors.abc.123.tmp")
                try write(Data([3]), output + "/.notes.tmp")
                let kept = try SmallConversion.contents(output).keys.filter { !$0.hasPrefix(".") }
                let finished = try fixture.restore(to: output)
                #expect(Set(finished.filter(\.wasThere).map(\.name)) == Set(kept))
                let strangers = [".model.safetensors.abc.123.tmp": Data([2]), ".notes.tmp": Data([3])]
                #expect(try SmallConversion.contents(output) == originals.merging(strangers) { $1 })
            }
        }
    }

    @Test func whatIsThereIsRecognisedByItsBytes() throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let fixture = try RestoreFixture(in: folder)
            let originals = try fixture.originals()
            let output = folder + "/out"
            try fixture.restore(to: output)
            #expect(try fixture.restore(to: output).allSatisfy(\.wasThere))
            for (name, bytes) in originals {
                let step = max(1, bytes.count / 10)
                var changes = stride(from: 0, to: bytes.count, by: step).map { index in
                    var changed = bytes
                    changed[index] ^= 1
                    return changed
                }
                changes += [Data(), bytes.dropLast(), bytes + [0]]
                for changed in changes {
                    try write(changed, output + "/" + name)
                    let problem = failure { () throws(LaminaError) in try fixture.restore(to: output) }
                    #expect(problem?.kind == .cannotCreate && problem?.subject == output + "/" + name, "\(name)")
                    #expect(try Data(contentsOf: URL(fileURLWithPath: output + "/" + name)) == changed)
                }
                try write(bytes, output + "/" + name)
            }
            #expect(!FileManager.default.fileExists(atPath: output + "/.lamina.lock"))
        }
    }

    @Test func linksFoldersAndPipesInTheWayAreRefused() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            let output = folder + "/out"
            let name = "pytorch_model.bin"
            mkdir(output, 0o700)
            func kind() -> LaminaError.Kind? {
                failure { () throws(LaminaError) in try fixture.restore(to: output) }?.kind
            }
            symlink(folder + "/nowhere", output + "/" + name)
            #expect(kind() == .cannotCreate)
            unlink(output + "/" + name)
            mkdir(output + "/" + name, 0o700)
            #expect(kind() == .cannotCreate)
            rmdir(output + "/" + name)
            mkfifo(output + "/" + name, 0o600)
            #expect(kind() == .cannotCreate)
            unlink(output + "/" + name)
            // A link to the right bytes is as good as they are.
            symlink(fixture.source + "/" + name, output + "/" + name)
            #expect(kind() == nil)
            #expect(
                failure { () throws(LaminaError) in try fixture.restore(to: output + "/" + name) }?.kind
                    == .cannotCreate)
        }
    }

    @Test func aSecondWriterStopsAtOnce() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            mkdir(folder + "/out", 0o700)
            let holder = try OpenFile(folder + "/out/.lamina.lock", .lockFile, in: RealFileSystem())
            #expect(try holder.tryLock())
            let problem = failure { () throws(LaminaError) in try fixture.restore(to: folder + "/out") }
            #expect(problem?.kind == .locked)
            #expect(try SmallConversion.contents(folder + "/out").count == 1)
        }
    }

    private struct FullDisk: FileSystemDouble {
        let real = RealFileSystem()
        func freeBytes(at path: String) -> Result<UInt64, SystemError> { .success(100_000) }
    }

    @Test func aSmallDiskIsNoticedBeforeTheFirstByte() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            let total = try fixture.originals().values.reduce(0) { $0 + $1.count }
            let problem = failure { () throws(LaminaError) in try fixture.restore(to: folder + "/out", in: FullDisk()) }
            #expect(problem?.kind == .io)
            #expect(problem?.expected?.contains("\(total) bytes") == true)
            #expect(problem?.found?.contains("100000 bytes") == true)
            #expect(try SmallConversion.contents(folder + "/out").isEmpty)
        }
    }

    // MARK: Stores that are damaged, or lie

    @Test func damageIsNamedAndMakesNoFile() throws {
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let fixture = try RestoreFixture(in: folder, chunkBytes: 1 << 20)
            let opened = try Store(path: fixture.store, in: RealFileSystem())
            for shard in opened.manifest.shards {
                let path = fixture.store + "/" + shard.path
                let content = try Data(contentsOf: URL(fileURLWithPath: path))
                let header = try opened.header(of: shard, file: try opened.open(shard))
                for (record, tensor) in zip(header.tensors, shard.tensors) {
                    guard let chunk = record.chunks.last else { continue }
                    var damaged = content
                    damaged[Int(chunk.offset) + Int(chunk.storedSize) / 2] ^= 0x10
                    try write(damaged, path)
                    let output = folder + "/out-" + tensor.name
                    let problem = failure { () throws(LaminaError) in try fixture.restore(to: output) }
                    #expect(problem?.kind == .damaged && problem?.subject == path, "\(tensor.name)")
                    #expect(problem?.tensor == tensor.name && problem?.layer == shard.layer)
                    #expect(problem?.bytes?.contains(chunk.offset) == true)
                    let name = opened.manifest.source.files[tensor.sourceFile].path
                    #expect(try SmallConversion.contents(output)[name] == nil)
                    #expect(try SmallConversion.contents(output).keys.allSatisfy { !$0.hasPrefix(".") })
                }
                try write(content, path)
            }
        }
    }

    @Test func everyTensorIsComparedWithItsDigest() throws {
        let wrong = try #require(SHA256Digest(hexadecimal: String(repeating: "0", count: 64)))
        try Fixtures.withScratchFolder(inMemory: true) { folder in
            let names = try Store(path: RestoreFixture(in: folder).store, in: RealFileSystem()).manifest.shards
                .flatMap(\.tensors).map(\.name)
            // Twins are refused beforehand: they cannot have different digests.
            for name in names where !name.hasSuffix("twin") && !name.hasSuffix("whole") {
                let place = folder + "/" + name
                let fixture = try RestoreFixture(in: place)
                try fixture.changeManifest { manifest in
                    for shard in manifest.shards.indices {
                        for index in manifest.shards[shard].tensors.indices
                        where manifest.shards[shard].tensors[index].name == name {
                            manifest.shards[shard].tensors[index].digest = wrong
                        }
                    }
                }
                let problem = failure { () throws(LaminaError) in try fixture.restore(to: place + "/out") }
                #expect(problem?.kind == .damaged && problem?.tensor == name, "\(name): \(String(describing: problem))")
                #expect(problem?.expected == wrong.description)
            }
        }
    }

    @Test func recordedOriginalsMustComeBack() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            let digest = SHA256.digest(of: Array(try #require(try fixture.originals()["stream.bin"])))
            func result(_ record: Data) throws -> LaminaError? {
                try write(record, fixture.store + "/originals.json")
                let output = folder + "/out"
                try? FileManager.default.removeItem(atPath: output)
                let problem = failure { () throws(LaminaError) in try fixture.restore(to: output) }
                if problem != nil {
                    #expect(!FileManager.default.fileExists(atPath: output + "/stream.bin"))
                }
                return problem
            }
            func record(_ digest: SHA256Digest) -> Data {
                let identity = OriginalsRecord.Identity(device: 1, inode: 2, size: 3, modified: 4, changed: 5)
                var files = ["model.safetensors", "stream.bin"].map {
                    OriginalsRecord.File(path: $0, identity: identity)
                }
                files[1].digest = digest
                return Data(OriginalsRecord(plan: digest, folder: "/gone", files: files).encoded())
            }
            #expect(try result(record(digest)) == nil)
            let other = SHA256.digest(of: [1])
            let problem = try result(record(other))
            #expect(problem?.kind == .damaged)
            #expect(problem?.expected == other.description && problem?.found == digest.description)
            var flipped = record(digest)
            flipped[20] ^= 1
            for bad in [Data(), Data("[]".utf8), Data("{\"files\":[{}]}".utf8), flipped] {
                #expect(try result(bad)?.kind == .damaged, "\(bad)")
            }
        }
    }

    private struct LossyCodec: Codec {
        var identifier: UInt8 { 200 }
        var name: String { "exp-tier" }
        var dtype: DType? { nil }
        var isLossless: Bool { false }
        func planes(elementSize: Int) -> [PlaneSpecification] { [] }
        func split(
            _ elements: UnsafeRawPointer, into planes: [UnsafeMutableRawPointer], count: Int, kernels: KernelTable
        ) {}
        func merge(
            _ planes: UnsafePointer<UnsafeRawPointer>, into elements: UnsafeMutableRawPointer, count: Int,
            kernels: KernelTable
        ) {}
    }

    @Test func lossyStoresAreRefused() throws {
        #expect(Codecs.lossless.allSatisfy { $0.isLossless } && Schemes.all.allSatisfy { !$0.isLossless })
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            let manifest = try Store(path: fixture.store, in: RealFileSystem()).manifest
            try SourceFiles.requireLossless(manifest, path: fixture.store)
            let codecs: [any Codec] = [LossyCodec()] + Codecs.all
            let problem = failure { () throws(LaminaError) in
                try SourceFiles.requireLossless(manifest, path: fixture.store, codecs: codecs)
            }
            #expect(problem?.kind == .malformed)
            #expect(problem?.problem.contains("not lossless") == true)
            #expect(problem?.found == "the codec exp-tier")
        }
    }
}
