import Checkpoint
import Foundation
import TensorCore
import TestSupport
import Testing

/// Tests/Fixtures/safetensors_corpus.py: hundreds of good and bad files, judged by Lamina and by the safetensors package.
@Suite struct SafetensorsCorpusTests {
    private static let needsPython: Comment = "LAMINA_PYTHON names no Python: scripts/test sets it up"

    /// One file and what must become of it.
    private struct Case: Decodable {
        var name: String
        var file: String
        /// Of the case table, 0 for good files.
        var row: Int
        var good: Bool
        /// Why the package's verdict is another.
        var differs: String?
        /// `NAME DTYPE SHAPE` of every tensor the package finds, if it accepts the file.
        var reference: [String]?
    }

    private func withCorpus(_ body: ([(Case, path: String)]) throws -> Void) throws {
        try Fixtures.withScratchFolder { folder in
            let script = Fixtures.path("safetensors_corpus.py")
            let result = try Tool.run(executable: try #require(Tool.python), [script, folder])
            try #require(result.status == 0, "\(result.standardError)")
            let list = try Data(contentsOf: URL(fileURLWithPath: folder + "/cases.json"))
            let cases = try JSONDecoder().decode([Case].self, from: list)
            try body(cases.map { ($0, path: folder + "/" + $0.file) })
        }
    }

    private func open(_ path: String) -> Result<WeightFile, LaminaError> {
        Result { () throws(LaminaError) in
            try WeightFile(name: "model.safetensors", path: path, in: RealFileSystem())
        }
    }

    /// What Lamina finds, in the words of `Case.reference`.
    private func listing(_ file: WeightFile) -> [String] {
        file.tensors.map { "\($0.name) \($0.dtype.rawValue) \($0.shape)" }
    }

    /// Every file's verdict is the listed one, and the package's unless the list says why not; what both accept, both
    /// read the same.
    @Test(.enabled(if: Tool.python != nil, needsPython)) func verdictsAgreeWithTheSafetensorsPackage() throws {
        try withCorpus { cases in
            #expect(cases.count > 400)
            #expect(Set(cases.map(\.0.row)) == Set(0...12))
            for (test, path) in cases {
                #expect((test.reference != nil) == (test.good == (test.differs == nil)), "package: \(test.name)")
                switch open(path) {
                case .success(let file):
                    #expect(test.good, "accepted: \(test.name)")
                    guard let reference = test.reference else { continue }
                    let found = listing(file).map { Array($0.utf8) }
                    #expect(Set(found) == Set(reference.map { Array($0.utf8) }), "\(test.name)")
                    #expect(found.count == reference.count, "\(test.name)")
                case .failure(let error):
                    #expect(!test.good, "\(test.name): \(error)")
                    #expect(error.kind == .malformed, "\(test.name): \(error)")
                    #expect(error.subject == path, "\(test.name): \(error)")
                    #expect(!error.description.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F })
                    #expect(error.description.count < 2000, "\(test.name)")
                }
            }
        }
    }
}
