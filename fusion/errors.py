"""Every error the toolkit raises on purpose, with a stable code, an exit code and a hint.

    FusionError                     exit 1
    ├── PartyFailed                 as at the party that said no
    ├── RunStopped                  exit 1   somebody asked for it
    ├── WorkFailed                  exit 1   confined work without a result; one text for all
    │   ├── WorkTimedOut                     past its wall limit, and killed
    │   ├── WorkOutOfMemory
    │   ├── WorkOutputTooLarge
    │   ├── WorkCrashed                      raised, ended early, or answered what is no answer
    │   └── WorkCancelled                    asked to stop
    ├── IsolationBusy               exit 1   too many requests wait for a worker
    ├── QueryFailed                 exit 1   a query did not come to an end; one text for all
    ├── InputInvalid                exit 2   what the user typed or wrote is wrong
    │   ├── StudyInvalid                     a study file; names the line
    │   ├── DataInvalid                      a table that does not fit what was declared
    │   ├── GrantInvalid                     a grant or a request under one; names the line
    │   ├── CatalogueInvalid                 what an owner declares about a dataset
    │   └── PolicyInvalid                    a policy of restricted queries; names the line
    ├── EnvironmentUnfit            exit 3   Python, port, file, disk, missing package
    │   └── IsolationUnavailable             nothing here confines untrusted work
    ├── Refused                     exit 4   a rule said no
    │   ├── GateRefused                      a key holder will not decrypt this
    │   ├── ContributionRefused              a contributor will not contribute to this
    │   ├── KeyRefused                       a key that is too weak, foreign or not imported
    │   │   └── PassphraseWrong              it does not open a private key
    │   ├── JobUnknown                       a party was not set up for this job
    │   ├── GrantRefused                     no grant allows this; codes G-…, see docs/grants.md
    │   ├── MemberRevoked                    an organisation that the authority has revoked
    │   ├── Unwitnessed                      what is to be opened is in no witnessed log
    │   ├── OrderRefused                     its operator did not order this; codes G-5…
    │   ├── QueryRefused                     the policy does not answer this; codes Q-…
    │   ├── PythonRefused                    a Python job is not taken or not run; codes P-…
    │   ├── AlignmentRefused                 records are not aligned, or not released; codes A-…
    │   ├── ModelRefused                     a joint model is not used; codes M-…
    │   └── ModelWithheld                    a model tells more than was promised; codes L-…
    ├── VerificationFailed          exit 5   a signature, a digest, a proof
    │   ├── SignatureInvalid
    │   ├── SealBroken
    │   ├── MessageInvalid                   not decodable, too large, of the wrong shape
    │   ├── UnknownOrganisation
    │   ├── CertificateInvalid               a certificate that is not what its holder may show
    │   ├── SumDisputed                      a decrypted sum that honest contributions can't make
    │   ├── LedgerBroken                     a log that was changed, forked or put back
    │   ├── HistoryBroken                    the history of released tables was changed
    │   ├── AlignmentBroken                  a party of an alignment broke its protocol; codes A-…
    │   └── ConversationBroken               a party said what no conversation has
    └── PartyUnreachable            exit 6   a party did not answer in time
        ├── QuorumLost                       too few parties to go on
        ├── HubRefused                       the hub answers, and says no
        ├── NoQueries                        a node that is up answers no queries
        └── PartySilent                      a party of a job was not heard for too long

A message says what did not happen and why; ``hint`` says what to do about it. Neither ever
carries a protected value: no cell of a table, no key, no plaintext.
"""

from __future__ import annotations


class FusionError(Exception):
    """Root of the tree.

    Attributes:
        code: Stable identifier for scripts and for the documentation.
        exit_code: What the command line ends with.
        hint: What the reader can do about it; may be empty.
        study_key: Key of the study that it is about, ``section.key`` or ``columns.NAME``; may be
            empty. Whoever has the study's file turns it into a line.
    """

    code: str = "F-000"
    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "", study_key: str = "") -> None:
        """Keep the message and the hint apart, so that each surface lays them out its way."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.study_key = study_key

    def __str__(self) -> str:
        """One line: the message, then the hint."""
        return f"{self.message} {self.hint}".strip()


class PartyFailed(FusionError):
    """Another organisation stopped the work; code and exit code are those it gave."""

    code = "F-001"
    start: int | None = None
    """Where in a statement that was asked it is about, in characters from 0."""

    def __init__(self, message: str, *, code: str, exit_code: int, party: str = "") -> None:
        """Take over the code of the organisation that failed; ``party`` is that organisation."""
        super().__init__(message)
        self.code = code
        self.exit_code = exit_code
        self.party = party


class RunStopped(FusionError):
    """A run was stopped because its operator asked for it."""

    code = "F-002"


class WorkFailed(FusionError):
    """Confined work ended without a result; who asked for it is told no more than that.

    Time-out, memory and crash can depend on the data, so message and hint are the same for all.

    Attributes:
        details: What happened, with the worker's standard error: for the data's owner alone. It can
            hold rows.
    """

    code = "F-020"

    def __init__(self, details: str = "") -> None:
        """Keep the details apart from the message, which is fixed."""
        super().__init__(
            "The work was ended before it had a result.",
            hint="Ask for less, or ask the data's owner, whose log says why.",
        )
        self.details = details

    def outward(self) -> WorkFailed:
        """Return what may leave the owner: no class of its own, no details."""
        return WorkFailed()


class WorkTimedOut(WorkFailed):
    """Confined work was killed at its wall limit; the owner's log alone says so."""

    code = "F-021"


class WorkOutOfMemory(WorkFailed):
    """Confined work had no memory left; the owner's log alone says so."""

    code = "F-022"


class WorkOutputTooLarge(WorkFailed):
    """Confined work answered more than it may; the owner's log alone says so."""

    code = "F-023"


class WorkCrashed(WorkFailed):
    """Confined work raised, ended early or answered nonsense; the owner's log alone says so."""

    code = "F-024"


class WorkCancelled(WorkFailed):
    """Confined work was ended because somebody asked for it."""

    code = "F-025"


class IsolationBusy(FusionError):
    """Too many requests wait for a worker, or none became free in time; ask again later."""

    code = "F-026"


class QueryFailed(FusionError):
    """A query did not come to an end; the text is one for all reasons, which go to the owner."""

    code = "F-010"

    def __init__(self) -> None:
        """Say it in the one way: a text that differed would answer questions about the data."""
        super().__init__(
            "The query could not be completed.",
            hint="The owner of the data can see why. Ask for less at once, or ask the owner.",
        )


class InputInvalid(FusionError):
    """What the user typed or wrote can't be used."""

    code = "F-200"
    exit_code = 2


class StudyInvalid(InputInvalid):
    """A study file is wrong; the message names the file and the line."""

    code = "F-201"


class DataInvalid(InputInvalid):
    """A table does not fit what the study declares."""

    code = "F-202"


class GrantInvalid(InputInvalid):
    """A grant, or a request under one, is wrong as it was written; the message names the line."""

    code = "F-203"


class CatalogueInvalid(InputInvalid):
    """A declaration of a dataset is wrong as it was written, or does not fit its table."""

    code = "F-204"


class PolicyInvalid(InputInvalid):
    """A policy of restricted queries is wrong as it was written; the message names the line."""

    code = "F-210"


class EnvironmentUnfit(FusionError):
    """The machine lacks something: a port, a file, a package, disk."""

    code = "F-300"
    exit_code = 3


class IsolationUnavailable(EnvironmentUnfit):
    """Nothing on this machine confines untrusted work, so none is run."""

    code = "F-301"


class Refused(FusionError):
    """A rule said no; where it is one of a list, the code shown is that of the rule."""

    code = "F-400"
    exit_code = 4

    def __init__(
        self, message: str, *, hint: str = "", study_key: str = "", code: str = ""
    ) -> None:
        """Take over the code of the rule that refused, if it has one of its own."""
        super().__init__(message, hint=hint, study_key=study_key)
        self.code = code or type(self).code


class GateRefused(Refused):
    """A key holder will not partially decrypt what it was asked to."""

    code = "F-401"


class ContributionRefused(Refused):
    """A contributor will not commit or submit what it was asked to."""

    code = "F-402"


class KeyRefused(Refused):
    """A key is too weak, malformed, foreign or was never imported."""

    code = "F-403"


class PassphraseWrong(KeyRefused):
    """The passphrase that was given does not open a private key."""

    code = "F-416"


class JobUnknown(Refused):
    """A party was asked about a job that it was not set up for, or has forgotten in a restart."""

    code = "F-404"


class GrantRefused(Refused):
    """No grant allows what was asked; the code shown is that of the clause (G-..)."""

    code = "F-405"


class MemberRevoked(Refused):
    """An organisation was revoked, or is outside of the time for which it was admitted."""

    code = "F-406"


class Unwitnessed(Refused):
    """A key holder was not shown that what it is to open is in the hub's log, and witnessed."""

    code = "F-407"


class OrderRefused(Refused):
    """Nothing shows that a study's operator ordered this run; the code shown says what (G-5.)."""

    code = "F-408"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        """Take over the code of what is wrong with the order."""
        super().__init__(message, hint=hint, study_key="study.operator", code=code)


class QueryRefused(Refused):
    """The policy does not answer this query; the code shown is that of the rule (Q-..)."""

    code = "F-410"
    start: int | None = None
    """Where in the statement it begins, in characters from 0, if it is about a place."""


class PythonRefused(Refused):
    """A Python job is not taken, not run or not handed out; the code shown is the rule's (P-..)."""

    code = "F-411"


class AlignmentRefused(Refused):
    """Records are not aligned, or what was found is not released; the code shown is A-…."""

    code = "F-412"


class ModelRefused(Refused):
    """A joint model is not scored with, published or exported; the code shown is M-…."""

    code = "F-413"


class ModelWithheld(Refused):
    """A trained model tells more than its study promised; the code shown is the limit's (L-..).

    Attributes:
        told: What others than the party that measured are told: limits, and no measure.
    """

    code = "F-415"

    def __init__(self, message: str, *, hint: str = "", code: str = "", told: str = "") -> None:
        """Take over the code of the limit that is not kept."""
        super().__init__(message, hint=hint, code=code)
        self.told = told or message


class VerificationFailed(FusionError):
    """Something that has to be authentic is not."""

    code = "F-500"
    exit_code = 5


class SignatureInvalid(VerificationFailed):
    """A signature does not verify, or is not by whom it has to be."""

    code = "F-501"


class SealBroken(VerificationFailed):
    """A sealed box is not for this key and context, or was changed."""

    code = "F-502"


class MessageInvalid(VerificationFailed):
    """Bytes that are not decodable, too large, or of the wrong shape."""

    code = "F-503"


class UnknownOrganisation(VerificationFailed):
    """An organisation that the roster does not name."""

    code = "F-504"


class SumDisputed(VerificationFailed):
    """A decrypted sum is not one that well-formed contributions add up to; it is not applied.

    Attributes:
        plaintexts: Which plaintexts of the sum are out of range; empty if only its length is.
    """

    code = "F-505"

    def __init__(self, message: str, *, hint: str = "", plaintexts: tuple[int, ...] = ()) -> None:
        """Say what is out of range."""
        super().__init__(message, hint=hint)
        self.plaintexts = plaintexts


class LedgerBroken(VerificationFailed):
    """A log was changed, cut, forked or put back; the message names the first bad entry.

    Attributes:
        index: Number of the first bad entry, or the least it can be.
    """

    code = "F-506"

    def __init__(self, message: str, *, index: int, hint: str = "") -> None:
        """Keep where it begins."""
        super().__init__(message, hint=hint)
        self.index = index


class CertificateInvalid(VerificationFailed):
    """A certificate is not one that the organisation it names may issue or show."""

    code = "F-507"


class HistoryBroken(VerificationFailed):
    """The history of released tables was changed, or does not follow from what is in it."""

    code = "F-508"


class AlignmentBroken(VerificationFailed):
    """A party of an alignment said what its protocol does not have; the code shown is A-…."""

    code = "F-509"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        """Take over the code of the rule that was broken."""
        super().__init__(message, hint=hint)
        self.code = code or type(self).code


class ConversationBroken(VerificationFailed):
    """Another party of a job said what a conversation does not have, or not in its order.

    Attributes:
        party: Which.
    """

    code = "F-510"

    def __init__(self, message: str, *, party: str, hint: str = "") -> None:
        """Keep who it was."""
        super().__init__(message, hint=hint)
        self.party = party


class PartyUnreachable(FusionError):
    """A party did not answer in time."""

    code = "F-600"
    exit_code = 6


class QuorumLost(PartyUnreachable):
    """Too few parties answered for the work to go on."""

    code = "F-601"


class HubRefused(PartyUnreachable):
    """The hub answers, and refuses; the message has the rule."""

    code = "F-602"


class NoQueries(PartyUnreachable):
    """A node is up and answers no queries: it has no policy, or nothing there confines work."""

    code = "F-603"


class PartySilent(PartyUnreachable):
    """A party of a job was not heard for longer than the job's patience, or nothing came of it.

    Attributes:
        party: Which.
    """

    code = "F-604"

    def __init__(self, message: str, *, party: str, hint: str = "") -> None:
        """Keep who it was."""
        super().__init__(message, hint=hint)
        self.party = party
