import Foundation
import TestSupport
import Testing

/// `pytorch_model.bin` through the built programs: what is refused is refused by name, nothing is run, little memory is
/// taken (case 22).
@Suite struct TorchInputTests {
    /// Converts a copy of the golden archive with another `pytorch_model.bin`.
    private func convert(_ bytes: [UInt8], limit: String = "unlimited") throws -> (ProcessResult, isMade: Bool) {
        try Fixtures.withScratchFolder { folder in
            let model = folder + "/model"
            try FileManager.default.copyItem(atPath: Fixtures.path("models/llama-bin-single"), toPath: model)
            try Data(bytes).write(to: URL(fileURLWithPath: model + "/pytorch_model.bin"))
            let command =
                "cd \(folder); ulimit -v \(limit); exec \(Tool.folder.path)/lamina-convert model store --threads 1"
            let result = try Tool.run(executable: "/bin/bash", ["-c", command])
            #expect(!FileManager.default.fileExists(atPath: folder + "/owned"))
            return (result, FileManager.default.fileExists(atPath: folder + "/store"))
        }
    }

    private func expectRefusal(_ bytes: [UInt8], saying texts: String..., limit: String = "unlimited") throws {
        let (result, isMade) = try convert(bytes, limit: limit)
        #expect(result.status == 65, "\(result.standardError)")
        #expect(!isMade)
        for text in texts { #expect(result.standardError.contains(text), "\(result.standardError)") }
    }

    @Test func hostilePicklesAreNamed() throws {
        for (module, name) in [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("subprocess", "call")] {
            let call = PickleNode.call(module, name, [.text("touch owned")])
            for version in [2, 4] as [UInt8] {
                let pickle = PickleNode.dictionary([(.text("w"), call)]).pickled(protocolVersion: version)
                try expectRefusal(
                    TorchCheckpoint.archive(pickle, []), saying: "\(module).\(name)", "bytes ",
                    "nothing in the file was run")
                try expectRefusal(TorchCheckpoint.stream(pickle, []), saying: "\(module).\(name)")
                try expectRefusal(call.pickled(protocolVersion: version), saying: "\(module).\(name)")
            }
        }
        try expectRefusal(
            TorchCheckpoint.archive([0x80, 2] + Array("(S'touch owned'\nios\nsystem\n.".utf8), []), saying: "STRING")
    }

    @Test func otherKindsAreNamed() throws {
        let tensor = TorchCheckpoint.Tensor("w", "Half", key: "0", count: 4, shape: [4])
        let storages = [(key: "0", bytes: [UInt8](repeating: 0, count: 8))]
        let nested = PickleNode.dictionary([(.text("state_dict"), TorchCheckpoint.stateDict([tensor]))])
        try expectRefusal(
            TorchCheckpoint.archive(nested.pickled(), storages), saying: "\"state_dict\" is no tensor", "found a dict",
            "checkpoint[\"state_dict\"]")
        var entries = TorchCheckpoint.entries(TorchCheckpoint.stateDict([tensor]).pickled(), storages)
        entries[2].method = 8
        try expectRefusal(ZipWriter(entries).bytes, saying: "m/data/0 is not stored as it is", "deflate", "hint: ")
        let good = try Fixtures.bytes("models/llama-bin-single/pytorch_model.bin")
        try expectRefusal(Array(good.dropLast(1000)), saying: "has no end", "incomplete")
        // A whole state dict of another model.
        try expectRefusal(
            TorchCheckpoint.archive(TorchCheckpoint.stateDict([tensor]).pickled(), storages), saying: "lacks tensors")
    }

    /// Pickles made to fill memory stop at their limits: below what a program of this kind may take in all.
    @Test func hostilePicklesStaySmall() throws {
        func filled(_ block: [UInt8]) -> [UInt8] {
            var pickle: [UInt8] = [0x80, 2]
            while pickle.count < 60 << 20 { pickle += block }
            return TorchCheckpoint.stream(pickle, [])
        }
        let tuples = [UInt8(ascii: "(")] + [UInt8](repeating: UInt8(ascii: "N"), count: 200_000) + [UInt8(ascii: "t")]
        try expectRefusal(filled(tuples), saying: "elements", limit: "900000")
        try expectRefusal(filled(Array("](".utf8)), saying: "depth", limit: "900000")
        try expectRefusal(filled(Array("]]a".utf8)), saying: "stack", limit: "900000")
        // A tensor of 2^46 elements in a file of a hundred bytes.
        let huge = TorchCheckpoint.Tensor("w", "Half", key: "0", count: 1 << 46, shape: [1 << 46])
        try expectRefusal(
            TorchCheckpoint.stream(TorchCheckpoint.stateDict([huge]).pickled(), [("0", 1 << 46, [])]),
            saying: "ends before the end of the storage 0", limit: "900000")
    }
}
