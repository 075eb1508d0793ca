import Testing
import Text

/// A small tokenizer.json whose parts can be changed.
struct SmallTokenizer {
    var vocabulary = #"{"a":0,"b":1,"c":2,"ab":3,"abc":4,"Ġ":5}"#
    var merges = #"["a b","ab c"]"#
    var model = #""type":"BPE","unk_token":null"#
    var addedTokens = #"[{"id":6,"content":"<x>","special":true}]"#
    var normalizer = "null"
    var preTokenizer = #"{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#
    var postProcessor = "null"
    var decoder = #"{"type":"ByteLevel"}"#
    var more = ""

    var json: [UInt8] {
        Array(
            """
            {"version":"1.0","truncation":null,"padding":null,"added_tokens":\(addedTokens),"normalizer":\(normalizer),
            "pre_tokenizer":\(preTokenizer),"post_processor":\(postProcessor),"decoder":\(decoder),
            "model":{\(model),"vocab":\(vocabulary),"merges":\(merges)}\(more)}
            """.utf8)
    }

    func load() throws -> Tokenizer { try Tokenizer(json: json, file: "folder/tokenizer.json") }

    func with(_ change: (inout SmallTokenizer) -> Void) -> SmallTokenizer {
        var copy = self
        change(&copy)
        return copy
    }
}

/// A change that must be refused, and a part of the message.
struct BadTokenizer: Sendable, CustomTestStringConvertible {
    let says: String
    let json: [UInt8]

    init(_ says: String, _ change: (inout SmallTokenizer) -> Void) {
        self.says = says
        json = SmallTokenizer().with(change).json
    }

    var testDescription: String { says }

    static let byteLevel = #"{"type":"ByteLevel","add_prefix_space":false}"#

    static let vocabularies: [BadTokenizer] = [
        BadTokenizer("have the same id 0") { $0.vocabulary = #"{"a":0,"b":0}"# },
        BadTokenizer("occurs twice") { $0.vocabulary = #"{"a":0,"a":1}"# },
        BadTokenizer("is out of range") { $0.vocabulary = #"{"a":-1}"# },
        BadTokenizer("is out of range") { $0.vocabulary = #"{"a":10000000}"# },
        BadTokenizer("is out of range") { $0.vocabulary = #"{"a":9223372036854775807}"# },
        BadTokenizer("is not an integer") { $0.vocabulary = #"{"a":9223372036854775808}"# },
        BadTokenizer("is not an integer") { $0.vocabulary = #"{"a":1.0}"# },
        BadTokenizer("is not an integer") { $0.vocabulary = #"{"a":"1"}"# },
        BadTokenizer("model.vocab is not an object") { $0.vocabulary = #"[["a",0.5]]"# },
        BadTokenizer("model.vocab is neither") { $0.vocabulary = "3" },
        BadTokenizer("is not in model.vocab") { $0.merges = #"["a d"]"# },
        BadTokenizer(#"needs "bc""#) { $0.merges = #"["b c"]"# },
        BadTokenizer("with an empty token") { $0.merges = #"[["","a"]]"# },
        BadTokenizer("with an empty token") { $0.merges = #"["a "]"# },
        BadTokenizer("not two tokens") { $0.merges = #"["a b c"]"# },
        BadTokenizer("not two tokens") { $0.merges = #"["ab"]"# },
        BadTokenizer("not a list of two strings") { $0.merges = #"[["a"]]"# },
        BadTokenizer("not a list of two strings") { $0.merges = #"[["a","b","c"]]"# },
        BadTokenizer("neither a string") { $0.merges = "[3]" },
        BadTokenizer("model.merges is not an array") { $0.merges = "{}" },
        BadTokenizer(#""WordPiece" is not supported"#) { $0.model = #""type":"WordPiece""# },
        BadTokenizer("model.unk_token") { $0.model = #""type":"BPE","unk_token":"<unk>""# },
        BadTokenizer("model.byte_fallback") { $0.model = #""type":"BPE","byte_fallback":1"# },
        BadTokenizer("model.vocab is not a list") { $0.model = #""type":"Unigram""# },
        BadTokenizer("score that is out of range") { $0.vocabulary = #"[["a",1e999]]"# },
        BadTokenizer("not a list of a piece and its score") { $0.vocabulary = #"[["a"]]"# },
        BadTokenizer("not a list of a piece and its score") { $0.vocabulary = #"[["a",1,2]]"# },
        BadTokenizer("model.vocab[1] is not a list") { $0.vocabulary = #"[["a",0],3]"# },
        BadTokenizer("occurs twice") { $0.vocabulary = #"[["a",0],["a",1]]"# },
        BadTokenizer("model.unk_id") {
            $0.model = #""type":"Unigram","unk_id":1"#
            $0.vocabulary = #"[["a",0]]"#
        },
        BadTokenizer("piece 0 is too long") {
            $0.model = #""type":"Unigram""#
            $0.vocabulary = #"[[""# + String(repeating: "x", count: 1025) + #"",0]]"#
        },
        BadTokenizer("model.dropout") { $0.model = #""type":"BPE","dropout":0.1"# },
        BadTokenizer("model.end_of_word_suffix") { $0.model = #""type":"BPE","end_of_word_suffix":"</w>""# },
        BadTokenizer("model.novelty") { $0.model = #""type":"BPE","novelty":1"# },
    ]

    static let addedTokens: [BadTokenizer] = [
        BadTokenizer("have the same id 0") { $0.addedTokens = #"[{"id":0,"content":"<x>"}]"# },
        BadTokenizer("has another id") { $0.addedTokens = #"[{"id":6,"content":"a"}]"# },
        BadTokenizer("occurs twice") { $0.addedTokens = #"[{"id":6,"content":"x"},{"id":6,"content":"y"}]"# },
        BadTokenizer("has another id") { $0.addedTokens = #"[{"id":6,"content":"x"},{"id":7,"content":"x"}]"# },
        BadTokenizer("out of range") { $0.addedTokens = #"[{"id":-6,"content":"x"}]"# },
        BadTokenizer("too long") {
            $0.addedTokens = #"[{"id":6,"content":""# + String(repeating: "x", count: 513) + #""}]"#
        },
        BadTokenizer("added_tokens[0].content") { $0.addedTokens = #"[{"id":6}]"# },
        BadTokenizer("added_tokens[0] is not an object") { $0.addedTokens = "[1]" },
        BadTokenizer("added_tokens is not an array") { $0.addedTokens = "{}" },
    ]

    static let pipelines: [BadTokenizer] = [
        BadTokenizer(#"normalizer.type "Precompiled""#) { $0.normalizer = #"{"type":"Precompiled"}"# },
        BadTokenizer(#"normalizers[0].type "Precompiled""#) {
            $0.normalizer = #"{"type":"Sequence","normalizers":[{"type":"Precompiled"}]}"#
        },
        BadTokenizer("normalizer.strip_left") { $0.normalizer = #"{"type":"Strip","strip_right":true}"# },
        BadTokenizer("normalizer.prepend") { $0.normalizer = #"{"type":"Prepend"}"# },
        BadTokenizer("normalizer.content") { $0.normalizer = #"{"type":"Replace","pattern":{"String":"a"}}"# },
        BadTokenizer(#"pre_tokenizer.type "UnicodeScripts""#) { $0.preTokenizer = #"{"type":"UnicodeScripts"}"# },
        BadTokenizer("pre_tokenizer.prepend_scheme") {
            $0.preTokenizer = #"{"type":"Metaspace","replacement":"_","prepend_scheme":"last"}"#
        },
        BadTokenizer("contradicts prepend_scheme") {
            $0.preTokenizer =
                #"{"type":"Metaspace","replacement":"_","prepend_scheme":"first","add_prefix_space":false}"#
        },
        BadTokenizer("expected one character") { $0.preTokenizer = #"{"type":"Metaspace","replacement":"__"}"# },
        BadTokenizer("pre_tokenizer.add_prefix_space") { $0.preTokenizer = #"{"type":"ByteLevel"}"# },
        BadTokenizer("pre_tokenizer.novelty = 1") {
            $0.preTokenizer = #"{"type":"ByteLevel","add_prefix_space":false,"novelty":1}"#
        },
        BadTokenizer("nest deeper") {
            let nested = String(repeating: #"{"type":"Sequence","pretokenizers":["#, count: 20)
            $0.preTokenizer = nested + byteLevel + String(repeating: "]}", count: 20)
        },
        BadTokenizer(#"behavior "Sideways""#) { $0.preTokenizer = split(#"{"Regex":"a"}"#, "Sideways") },
        BadTokenizer("exactly one of Regex and String") { $0.preTokenizer = split("{}") },
        BadTokenizer("is not valid") { $0.preTokenizer = split(#"{"Regex":"a("}"#) },
        BadTokenizer("is not valid") { $0.preTokenizer = split(#"{"Regex":"\\p{NoSuchScript}"}"#) },
        BadTokenizer("a class inside a class") { $0.preTokenizer = split(#"{"Regex":"[a[b]]"}"#) },
        BadTokenizer("an intersection of classes") { $0.preTokenizer = split(#"{"Regex":"[a&&b]"}"#) },
        BadTokenizer(#"\h"#) { $0.preTokenizer = split(#"{"Regex":"\\h"}"#) },
        BadTokenizer("a group of another kind") { $0.preTokenizer = split(#"{"Regex":"(?m:a)"}"#) },
        BadTokenizer("{n}+") { $0.preTokenizer = split(#"{"Regex":"a{2}+"}"#) },
        BadTokenizer(#"post_processor.type "Wrapping""#) { $0.postProcessor = #"{"type":"Wrapping"}"# },
        BadTokenizer("post_processor.cls") { $0.postProcessor = #"{"type":"BertProcessing"}"# },
        BadTokenizer("post_processor.sep is not") {
            $0.postProcessor = #"{"type":"BertProcessing","cls":["<x>",6],"sep":["<y>",7]}"#
        },
        BadTokenizer("not in special_tokens") { $0.postProcessor = template(#"{"SpecialToken":{"id":"<y>"}}"#) },
        BadTokenizer("an id that no token has") { $0.postProcessor = template(#"{"SpecialToken":{"id":"<x>"}}"#, 7) },
        BadTokenizer("exactly once") { $0.postProcessor = template(#"{"Sequence":{"id":"A"}}"#) },
        BadTokenizer(#"is not "A""#) { $0.postProcessor = template(#"{"Sequence":{"id":"B"}}"#) },
        BadTokenizer(#"decoder.type "WordPiece""#) { $0.decoder = #"{"type":"WordPiece"}"# },
        BadTokenizer(#"decoders[0].type "CTC""#) {
            $0.decoder = #"{"type":"Sequence","decoders":[{"type":"CTC"}]}"#
        },
        BadTokenizer("out of range") {
            $0.decoder = #"{"type":"Strip","content":" ","start":-1,"stop":0}"#
        },
        BadTokenizer(#"the key "novelty""#) { $0.more = #","novelty":1"# },
        BadTokenizer("duplicate key") { $0.more = #","decoder":null"# },
        BadTokenizer("invalid JSON") { $0.more = "}" },
        BadTokenizer("invalid JSON") { $0.decoder = "\"" + String(repeating: "x", count: 1_100_000) + "\"" },
    ]

    static func split(_ pattern: String, _ behavior: String = "Isolated") -> String {
        """
        {"type":"Sequence","pretokenizers":[{"type":"Split","pattern":\(pattern),"behavior":"\(behavior)",
        "invert":false},\(byteLevel)]}
        """
    }

    static func template(_ piece: String, _ id: Int = 6) -> String {
        """
        {"type":"TemplateProcessing","single":[\(piece),{"Sequence":{"id":"A","type_id":0}}],"pair":[],
        "special_tokens":{"<x>":{"id":"<x>","ids":[\(id)],"tokens":["<x>"]}}}
        """
    }
}
