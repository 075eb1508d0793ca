import TensorCore

/// JSON documents that carry their own digest, so that a damaged one is known before anything in it is believed.
extension JSONObject {
    /// Canonical JSON with the SHA-256 of the same without it under `digest`, and a line feed.
    public func bytesWithDigest() -> [UInt8] {
        let digest = SHA256.digest(of: JSONValue.object(self).canonicalBytes())
        let all = members + [("digest", .string(digest.description))]
        return JSONValue.object(JSONObject(all)).canonicalBytes() + [0x0A]
    }

    /// Throws `.damaged` unless `digest` is that of the other members.
    public func checkDigest(file: String) throws(LaminaError) {
        let unsigned = JSONObject(members.filter { !$0.key.utf8.elementsEqual("digest".utf8) })
        let digest = SHA256.digest(of: JSONValue.object(unsigned).canonicalBytes())
        guard self["digest"]?.string == digest.description else {
            throw LaminaError(
                .damaged, file, "the document's digest of itself differs",
                expected: self["digest"]?.summary ?? "a digest", found: digest.description)
        }
    }
}
