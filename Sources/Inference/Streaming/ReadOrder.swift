/// Which request is read next: pass after pass in plan order, the head and its passes' experts only where they are
/// wanted.
///
/// What every pass reads has a place in this order from the start. An expert gets its place when its layer is routed;
/// until then reading goes on behind the layer, and what it comes to there is told to be ahead.
struct ReadOrder: Sendable {
    /// When a request is read.
    enum Occurrence {
        case everyPass
        /// By the first pass that comes to it.
        case once
        /// By passes that ask for it.
        case routed
    }

    /// A request in a pass.
    struct Place: Sendable, Comparable {
        var pass: Int
        var request: Int

        static func < (first: Place, second: Place) -> Bool {
            (first.pass, first.request) < (second.pass, second.request)
        }
    }

    private let occurrences: [Occurrence]
    private let bodyCount: Int
    private let layers: [ExpertRequests.Layer]
    private let hasEveryPass: Bool
    /// Which requests are to be read once and have not been started; once there are none, passes that read nothing
    /// every time have nothing left.
    private var isUnread: [Bool]
    private var unreadCount: Int
    private var schedule: [PassSchedule]
    private var passesBeforeSchedule = 0
    /// Where what every pass reads has got to.
    private var cursor = Place(pass: 0, request: 0)
    /// Experts asked for, from `nextRouted` on not started yet.
    private var routed: [Place] = []
    private var nextRouted = 0
    /// The pass and layer to be routed next.
    private var turn = (pass: 0, layer: 0)

    /// For the passes of `schedule`. Requests from `bodyCount` on are the head's; those of `layers` are `.routed`.
    init(
        _ occurrences: [Occurrence], bodyCount: Int, layers: [ExpertRequests.Layer], schedule: [PassSchedule]
    ) {
        self.occurrences = occurrences
        self.bodyCount = bodyCount
        self.layers = layers
        self.schedule = schedule
        hasEveryPass = occurrences.contains(.everyPass)
        isUnread = occurrences.map { $0 == .once }
        unreadCount = isUnread.count { $0 }
    }

    // MARK: Reading

    /// The first request that has not been started, and whether a layer before it is still to be routed; `nil` if no
    /// scheduled pass will read anything that is known.
    mutating func next() -> (place: Place, isAhead: Bool)? {
        let dense = nextDense()
        if nextRouted < routed.count, dense.map({ routed[nextRouted] < $0 }) ?? true {
            return (routed[nextRouted], false)
        }
        return dense.map { ($0, isAhead($0)) }
    }

    /// What `next` returned has been started.
    mutating func start(_ place: Place) {
        if occurrences[place.request] == .routed {
            nextRouted += 1
            guard nextRouted == routed.count else { return }
            routed.removeAll(keepingCapacity: true)
            nextRouted = 0
        } else {
            if occurrences[place.request] == .once {
                isUnread[place.request] = false
                unreadCount -= 1
            }
            cursor.request += 1
        }
    }

    private func isAhead(_ place: Place) -> Bool {
        guard layers.indices.contains(turn.layer) else { return false }
        return Place(pass: turn.pass, request: layers[turn.layer].requests.lowerBound) < place
    }

    /// The request under the cursor, after moving over passes that are done, experts, and what need not be read again.
    private mutating func nextDense() -> Place? {
        while let current = currentSchedule() {
            let end = current.includesHead ? occurrences.count : bodyCount
            while cursor.request < end {
                switch occurrences[cursor.request] {
                case .everyPass: return cursor
                case .once where isUnread[cursor.request]: return cursor
                case .once, .routed: cursor.request += 1
                }
            }
            if unreadCount == 0, !hasEveryPass { return nil }
            cursor = Place(pass: cursor.pass + 1, request: 0)
        }
        return nil
    }

    private mutating func currentSchedule() -> PassSchedule? {
        while let first = schedule.first {
            if cursor.pass < passesBeforeSchedule + first.count { return first }
            passesBeforeSchedule += first.count
            schedule.removeFirst()
        }
        return nil
    }

    // MARK: Routing

    /// The pass that will route a layer next.
    var routingPass: Int { turn.pass }

    /// Index into `layers` of the layer that `pass` has to route now; `nil` if it is not its turn.
    func layerToRoute(pass: Int) -> Int? { turn.pass == pass && turn.layer < layers.count ? turn.layer : nil }

    /// An expert's request that the pass in turn will read. Rising from call to call.
    mutating func add(routed request: Int) { routed.append(Place(pass: turn.pass, request: request)) }

    /// The layer in turn is routed: all its experts that will be read have been added.
    mutating func endTurn() {
        turn.layer += 1
        if turn.layer == layers.count { turn = (turn.pass + 1, 0) }
    }
}
