/// Lamina's own version; also written into manifests.
public let laminaVersion = "0.1.0"
