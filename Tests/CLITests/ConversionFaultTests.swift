import Foundation
import Glibc
import TensorCore
import TestSupport
import Testing

/// What goes wrong around a conversion in the real world: full disks, bad places, signals, other processes, hostile names.
@Suite struct ConversionFaultTests {
    private static let model = Fixtures.path("models/llama31-rope")
    private static let convert = Tool.folder.appendingPathComponent("lamina-convert").path

    /// Runs a line of shell in which `$convert` and `$model` are what they say, inside `folder`.
    private func shell(_ line: String, in folder: String) throws -> ProcessResult {
        let setting = "cd \(folder) || exit 99; convert=\(Self.convert); model=\(Self.model)\n"
        return try Tool.run(executable: "/bin/sh", ["-c", setting + line])
    }

    /// No store, no temporary file; then the same conversion makes the very store it should.
    private func expectResumable(_ store: String, in folder: String, location: SourceLocation = #_sourceLocation) throws
    {
        #expect(!FileManager.default.fileExists(atPath: store + "/manifest.json"), sourceLocation: location)
        let paths = FileManager.default.enumerator(atPath: store)?.allObjects as? [String] ?? []
        #expect(!paths.contains { $0.hasSuffix(".tmp") }, "\(paths)", sourceLocation: location)
        let result = try Tool.run("convert", [Self.model, store, "--quiet"])
        #expect(result.status == 0, "\(result.standardError)", sourceLocation: location)
        try expectWhole(store, in: folder, location: location)
    }

    private func expectWhole(_ store: String, in folder: String, location: SourceLocation = #_sourceLocation) throws {
        let reference = try makeStore(Self.model, in: folder)
        let difference = try Tool.run(
            executable: "/usr/bin/diff", ["-r", "--exclude=originals.json", reference, store])
        #expect(difference.status == 0, "\(difference.standardOutput)", sourceLocation: location)
    }

    /// A limit on the size of files stands for a disk that fills up on the way.
    @Test func aDiskThatFillsUpLeavesWorkThatCanBeCompleted() throws {
        try Fixtures.withScratchFolder { folder in
            for kibibytes in [1, 8, 40, 60] {
                let result = try shell("ulimit -f \(2 * kibibytes); exec $convert $model store", in: folder)
                #expect(result.status == 74, "\(kibibytes): \(result.standardError)")
                #expect(result.standardError.contains("store/"), "\(result.standardError)")
                #expect(result.standardError.contains("File too large"), "\(result.standardError)")
                try expectResumable(folder + "/store", in: folder)
                try FileManager.default.removeItem(atPath: folder + "/store")
            }
        }
    }

    /// Small disks of their own, where the system lets users mount them.
    @Test func smallAndReadOnlyDisks() throws {
        try Fixtures.withScratchFolder { folder in
            mkdir(folder + "/disk", 0o700)
            func mounted(_ options: String) throws -> ProcessResult {
                let inner =
                    "mount -t tmpfs -o \(options) tmpfs disk || exit 98; $convert $model disk/store; status=$?; "
                    + "find disk -name '*.tmp' >&2; exit $status"
                return try shell("export convert model; unshare -rm sh -c '\(inner)'", in: folder)
            }
            let usual = try mounted("size=100M")
            guard usual.status == 0 else {
                print("note: disks of their own are left out, this system mounts none: \(usual.standardError)")
                return
            }
            // Too small from the beginning, which is seen before anything is written; then without room for more names.
            let small = try mounted("size=100k")
            #expect(small.status == 74 && small.standardError.contains("not enough disk space"), "\(small)")
            for names in [4, 6, 9, 12] {
                let full = try mounted("nr_inodes=\(names)")
                #expect(full.status == 74 || full.status == 73, "\(full)")
                #expect(full.standardError.contains("No space left"), "\(full)")
                #expect(!full.standardError.contains(".tmp\n"), "\(full)")
            }
            let readOnly = try mounted("ro")
            #expect(readOnly.status == 73 && readOnly.standardError.contains("Read-only"), "\(readOnly)")
        }
    }

    @Test func placesWhereNoStoreCanBe() throws {
        try Fixtures.withScratchFolder { folder in
            let source = folder + "/source"
            try FileManager.default.copyItem(atPath: Self.model, toPath: source)
            let before = try Tool.run(executable: "/bin/sh", ["-c", "cd \(source) && sha256sum *"])
            mkdir(folder + "/full", 0o700)
            try Data([1]).write(to: URL(fileURLWithPath: folder + "/full/precious"))
            mkdir(folder + "/hers", 0o700)
            mkdir(folder + "/hers/layers", 0o700)
            symlink(source, folder + "/link")
            symlink(folder + "/nowhere", folder + "/dangling")
            let places = [
                source, folder, source + "/store", source + "/config.json", source + "/config.json/store",
                folder + "/full", folder + "/hers", folder + "/link", folder + "/link/store", folder + "/dangling",
                folder + "/absent/store", folder + "/" + String(repeating: "x", count: 256),
                folder + "/" + String(repeating: "x/", count: 2100) + "store",
            ]
            for place in places {
                let result = try Tool.run("convert", [source, place])
                #expect(result.status == 73, "\(place.prefix(200)): \(result.standardError.prefix(600))")
            }
            #expect(
                try Tool.run(executable: "/bin/sh", ["-c", "cd \(source) && sha256sum *"]).standardOutput
                    == before.standardOutput)
            #expect(FileManager.default.fileExists(atPath: folder + "/full/precious"))
        }
    }

    /// Any name the system takes is a name for a store.
    @Test func strangeNames() throws {
        try Fixtures.withScratchFolder { folder in
            let names = [
                "with spaces", "quote's \"and\" $more;", "-dash", "line\nfeed", "ümlaut 模型",
                String(repeating: "x", count: 255),
            ]
            for name in names {
                let result = try Tool.run("convert", [Self.model, folder + "/" + name, "--quiet"])
                #expect(result.status == 0, "\(name): \(result.standardError)")
                let verified = try Tool.run("verify", [folder + "/" + name])
                #expect(verified.status == 0, "\(name): \(verified.standardError)")
            }
            // Not UTF-8: made under exactly this name, or refused; never under another one.
            let result = try shell("mkdir new; cd new; $convert $model \"$(printf 'a\\377b')\" -q", in: folder)
            #expect(result.status == 0 || result.status == 64 || result.status == 73, "\(result)")
            let made = try shell("cd new; ls -A | od -An -c", in: folder).standardOutput
            #expect(result.status == 0 ? made.contains("a 377   b") : made.allSatisfy(\.isWhitespace), "\(made)")
        }
    }

    /// Links that somebody put where the conversion writes lead it nowhere.
    @Test func plantedLinksAreNotFollowed() throws {
        try Fixtures.withScratchFolder { folder in
            let victim = folder + "/victim"
            mkdir(victim, 0o700)
            try Data("precious".utf8).write(to: URL(fileURLWithPath: victim + "/file"))
            for name in [".lamina.lock", "manifest.json", "manifest.partial.json", "layers", "side", "side/source"] {
                let store = folder + "/store"
                mkdir(store, 0o700)
                if name != ".lamina.lock" { try Data().write(to: URL(fileURLWithPath: store + "/.lamina.lock")) }
                if name == "side/source" { mkdir(store + "/side", 0o700) }
                let isFolder = ["layers", "side", "side/source"].contains(name)
                symlink(isFolder ? victim : victim + "/file", store + "/" + name)
                let result = try Tool.run("convert", [Self.model, store])
                #expect([0, 73].contains(result.status), "\(name): \(result.standardError)")
                #expect(try FileManager.default.contentsOfDirectory(atPath: victim) == ["file"], "\(name)")
                #expect(try Data(contentsOf: URL(fileURLWithPath: victim + "/file")) == Data("precious".utf8))
                if result.status == 0 { try expectWhole(store, in: folder) }
                try FileManager.default.removeItem(atPath: store)
            }
            // At the final name of a shard and of a temporary file as an interrupted run may have left it.
            for name in ["0000.h5", ".0000.h5.abc.tmp"] {
                let store = folder + "/store"
                mkdir(store, 0o700)
                mkdir(store + "/layers", 0o700)
                try Data().write(to: URL(fileURLWithPath: store + "/.lamina.lock"))
                symlink(victim + "/file", store + "/layers/" + name)
                #expect(try Tool.run("convert", [Self.model, store]).status == 0)
                #expect(try Data(contentsOf: URL(fileURLWithPath: victim + "/file")) == Data("precious".utf8))
                try expectWhole(store, in: folder)
                try FileManager.default.removeItem(atPath: store)
            }
        }
    }

    @Test func oneConversionAtATime() throws {
        try Fixtures.withScratchFolder { folder in
            let both = try shell(
                "$convert $model store -q & first=$!; $convert $model store -q; echo $?; wait $first; echo $?",
                in: folder)
            let codes = both.standardOutput.split(separator: "\n").compactMap { Int($0) }
            #expect(codes.contains(0) && codes.count == 2 && Set(codes).isSubset(of: [0, 73, 75]), "\(both)")
            try expectWhole(folder + "/store", in: folder)
            // A process that holds the lock is named; what a dead one left keeps nobody out.
            let held = folder + "/held"
            mkdir(held, 0o700)
            do {
                let holder = try OpenFile(held + "/.lamina.lock", .lockFile, in: RealFileSystem())
                #expect(try holder.tryLock())
                let text = Array("process 999999999 on elsewhere".utf8)
                try text.withBytes { (bytes) throws(LaminaError) in try holder.write(bytes, at: 0) }
                let result = try Tool.run("convert", [Self.model, held])
                #expect(result.status == 75, "\(result)")
                #expect(result.standardError.contains("process 999999999 on elsewhere"))
            }
            #expect(try Tool.run("convert", [Self.model, held, "-q"]).status == 0)
            try expectWhole(held, in: folder)
        }
    }

    /// The signal is there before the program is, and is seen as soon as the conversion looks.
    @Test(arguments: [("INT", 130), ("TERM", 143), ("HUP", 129)])
    func signalsStopAtTheNextBlock(_ name: String, _ status: Int32) throws {
        try Fixtures.withScratchFolder { folder in
            let line = "env --block-signal=\(name) sh -c 'kill -\(name) $$; exec \"$@\"' sh $convert $model store"
            let result = try shell(line, in: folder)
            #expect(result.status == status, "\(result)")
            #expect(result.standardError.contains("the same command completes it"))
            try expectResumable(folder + "/store", in: folder)
        }
    }

    /// A program without standard streams must not take a file of the store for one of them.
    @Test func closedStandardStreams() throws {
        try Fixtures.withScratchFolder { folder in
            for (number, closed) in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"].enumerated() {
                let store = folder + "/store\(number)"
                _ = try shell("$convert $model \(store) \(closed)", in: folder)
                try expectWhole(store, in: folder)
            }
            // What nobody can read was not said.
            #expect(try shell("$convert $model json --json >&-", in: folder).status == 74)
            try expectWhole(folder + "/json", in: folder)
        }
    }
}
