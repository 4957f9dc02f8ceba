"""The words that say safe or unsafe, and those that turn them round.

Two tiers. Tier 1 answers the question that was asked: whether the image is safe, fit, allowed, may be
shown. Tier 2 describes content ("violent", "graphic") and is looked at only where no word of tier 1 is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Predicate:
    """A pattern and what it says unnegated: +1 safe, -1 unsafe.

    Where `needs` are given, each has to stand before it in the clause: "can be shown" says something,
    "be shown" alone does not, and "I can see a tree" permits nothing.
    """

    pattern: re.Pattern[str]
    polarity: int
    tier: int
    needs: tuple[re.Pattern[str], ...] = ()


def _words(text: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + text + r")\b")


_SAFE = (
    r"safe|safely|sfw|harmless|innocuous|benign|inoffensive|unobjectionable|unproblematic|wholesome"
    r"|appropriate|suitable|acceptable|permissible|permitted|allowed|fit (?:for|to)|suited (?:for|to)"
    r"|feel free to|go ahead|fine|okay|ok|alright|all right|good to go|family[- ]friendly|friendly for"
    r"|adher(?:e|es|ing) to"
    r"|compl(?:y|ies|ying) with|compliant|conform(?:s|ing)? (?:to|with)|compatible with|(?:follow|meet"
    r"|respect|obey|keep to)(?:s|ing)? (?:\w+ ){0,4}(?:guidelines|rules|standards|policies)|in line with"
    r"|in keeping with|consistent with|within (?:the |community |forum ){0,3}(?:guidelines|rules|limits)"
    r"|free (?:from|of)|clear of|devoid of|without (?:causing |any |doing |risk of ){0,3}(?:harm|distress"
    r"|offence|offense|risk|concern|concerns|problem|problems|issue|issues|trouble|worry|hesitation)"
)
_UNSAFE = (
    r"unsafe|nsfw|harmful|exploitative|exploitive|inappropriate|unsuitable|unacceptable|improper|unfit"
    r"|ill[- ]suited|objectionable|problematic|impermissible|prohibited|forbidden|banned|disallowed"
    r"|off[- ]limits|violat(?:e|es|ed|ing|ion|ions)|infring(?:e|es|ing)|breach(?:es|ed|ing)?|break(?:s"
    r"|ing)? (?:\w+ ){0,4}(?:guidelines|rules|standards|policies)|against (?:\w+ ){0,4}(?:guidelines"
    r"|rules|standards|policies|policy|terms)|harm|harms|harming|distress|distressing|risk|risks|risky"
    r"|damaging|hurtful|wrong|bad idea"
    r"|(?:do not|don't|never) (?:share|post|show|publish|upload|generate|display|create|make)"
    r" (?:it|this|that|such|them)"
    r"|hesitate|problem|problems|issue|issues|objection|objections|(?:be"
    r"|being) (?:removed|blocked|avoided|censored|flagged|hidden|restricted|taken down|reported|withheld"
    r"|rejected|deleted|kept (?:away|from|off|out|private|hidden))|avoid(?:ing)?|refrain(?:ing)?"
    r"|steer clear|advise against|recommend against|discourage[sd]?|inadvisable|keep (?:\w+ ){1,4}(?:away"
    r"|off|out|private|hidden|from)|(?:remove|hide|block|flag|censor|delete|take down|hold back|withhold"
    r"|reject) (?:it|this|that|the|such|them|an?)"
)
_CONTENT_UNSAFE = (
    r"offensive|violent|violence|graphic|gore|gory|bloody|gruesome|disturbing|disturb|explicit|hateful"
    r"|hate|racist|racism|extremist|antisemitic|discriminatory|derogatory|insulting|disrespectful"
    r"|insensitive|sexual|sexually|nudity|nude|pornographic|obscene|indecent|lewd|vulgar|threatening"
    r"|menacing|abusive|cruel|cruelty|illegal|unlawful|criminal|dangerous|danger|unethical|immoral|toxic"
    r"|malicious|sensitive content|upset|upsets|upsetting|shock|shocks|shocking|frighten|frightens"
    r"|frightening|scary|traumatic|traumatizing|traumatising|triggering|unsettling|trouble|troubles"
    r"|troubling|bother|bothers|offend|offends|hurt|hurts|worry|worries|worrying|concern|concerns"
    r"|concerning|alarming|nasty|unpleasant|bad"
)
_CONTENT_SAFE = (
    r"non[- ](?:offensive|violent|explicit|threatening|harmful|graphic|sexual|controversial)|peaceful"
    r"|positive|cheerful|ordinary|everyday|good for (?:all|every)\w*|kind to (?:all|every)\w*|neutral"
)
_PASSIVE = (
    r"be (?:shown|shared|posted|published|displayed|viewed|seen|watched|generated|created|produced"
    r"|used(?! (?:responsibly|ethically|carefully|wisely|with))|uploaded|presented|included|made|drawn"
    r"|printed|distributed|circulated|featured|put|placed|spread|on display|online|public)|(?:appear"
    r"|go) (?:on|in|online|public|live)|stay (?:up|online)|remain (?:up|online)"
)
_ACTIVE = (
    r"(?:show|share|post|publish|display|generate|create|produce|upload|use|include|put|present|draw|make"
    r"|let|distribute|spread|allow|permit|print)"
)
_SEEING = r"(?:see|view|watch|look at|enjoy|be shown)"
_ENDORSING = r"(?:recommend|endorse|approve|support|encourage|want|call|feel (?:good|comfortable|happy))"

#: A modal verb: "can be shown", "I would not share".
MODAL = re.compile(
    r"\b(?:can|could|may|might|should|would|will|must|shall|cannot|ought to"
    r"|(?:ca|wo|could|should|would|must|might)(?:n't|nt)"
    r"|i'd|we'd|you'd|i'll|allowed to|free to|able to|happy to|glad to|okay to|ok to|meant to|better)\b"
)
_MODAL_OR_DO = re.compile(MODAL.pattern + r"|\b(?:do|does)(?:n't|nt)?\b|\bi\b")
_SOMEONE = re.compile(
    r"\b(?:i|we|you|one|it|this|these|such|people|anyone|anybody|everyone|everybody|nobody|no one|none"
    r"|somebody|someone"
    r"|children|kids|others|they|viewers|users|i'd|we'd|you'd|i'll|audience)\b"
)
_PEOPLE = re.compile(
    r"\b(?:people|anyone|anybody|everyone|everybody|nobody|no one|none|children|kids|others|viewers|users"
    r"|audience|all ages|families)\b"
)

PREDICATES: tuple[Predicate, ...] = (
    Predicate(_words(_SAFE), +1, 1),
    Predicate(_words(_UNSAFE), -1, 1),
    Predicate(_words(_PASSIVE), +1, 1, (MODAL,)),
    Predicate(_words(_ACTIVE), +1, 1, (MODAL, _SOMEONE)),
    Predicate(_words(_SEEING), +1, 1, (MODAL, _PEOPLE)),
    Predicate(_words(_ENDORSING), +1, 1, (_MODAL_OR_DO, _SOMEONE)),
    Predicate(_words(_CONTENT_UNSAFE), -1, 2),
    Predicate(_words(_CONTENT_SAFE), +1, 2),
)

NEGATOR = re.compile(
    r"\b(?:not|never|no|nothing|none|nobody|no one|nowhere|neither|cannot|hardly|scarcely|barely|unlikely"
    r"|without|lack|lacks|lacking|fails? to|far from|anything but|less than|by no means|doubt|refuse to"
    r"|\w+n't|dont|doesnt|didnt|cant|wont|isnt|arent|wouldnt|shouldnt|couldnt"
    r"|too (?!(?:and|or)\b)[\w-]+(?: (?:and|or) [\w-]+)?(?: (?:to|for)\b))"
)
#: Phrases whose negator negates nothing, or which say nothing about the image.
IDIOM = re.compile(
    r"\b(?:no doubt|without (?:a |any )?(?:doubt|question|hesitation)|no question|not only|not just"
    r"|not merely|not simply"
    r"|to be (?:on the )?safe(?: side)?(?=,|$)|on the safe side|better safe than sorry"
    r"|play it safe|err on the side of|safe context|unsafe context|content warning|if not)\b|\bto be safe,"
)
HEDGE = re.compile(
    r"\b(?:could|may|might|can|potentially|possibly|perhaps|maybe|probably not sure|sometimes|somewhat"
    r"|appears? to|some people|some viewers|certain|not necessarily|in some|under some|in certain)\b"
)
#: A claim about part of the audience only.
QUALIFIED = re.compile(
    r"\b(?:for|to|by) (?:(?:very |more |some|certain|sensitive|young|younger|small|particularly|highly"
    r"|those|people who|individuals|viewers who)\b"
    r"|(?:kids|children|minors|toddlers)\b)"
)
CONDITION = re.compile(
    r"^(?:only |even |especially |particularly |and |or |but |so )?(?:if|unless|when|whenever|as long as"
    r"|so long as|provided|assuming|depending|in case|except|until|once)\b"
)
CONCESSION = re.compile(
    r"^(?:and |but |so )?(?:although|though|even though|while|whilst|whereas|despite|in spite of|granted"
    r"|admittedly"
    r"|(?:it's|it is|this is|that's|that is) not that|it isn't that|not that|it may (?:look|seem|appear)"
    r"|it might (?:look|seem|appear)|it (?:looks|seems) )"
)
CONTRAST = re.compile(
    r"^(?:but|however|yet|nevertheless|nonetheless|still|on the other hand|that said|even so)\b"
)
REASON = re.compile(r"^(?:because|since|as|for it|which|who|that|where|making|given|due to|so that|to)\b")
CONCLUSION = re.compile(
    r"^(?:in conclusion|to conclude|in summary|to summari[sz]e|to sum up|overall|therefore|thus|hence|so"
    r"|in short"
    r"|all in all|conclusion|ultimately|consequently|as a result|for (?:this|these|that) reasons?"
    r"|my verdict|verdict|in the end)\b"
)
#: Advice about images in general: it says nothing about this one.
ADVICE = re.compile(
    r"\b(?:it is|it's|it would be|is) (?:also |always |very |therefore |still |generally |most "
    r"|especially )*(?:important|essential|crucial|vital|necessary|worth|critical|key|wise|imperative)\b"
    r"|^(?:please|always|make sure|be sure|remember|consider|you should (?:always |also )?(?:consider"
    r"|check|make sure|be)|users should)\b"
    r"|\b(?:ensure|ensuring|make sure|making sure|be mindful|be cautious|be aware|consider whether"
    r"|check whether) (?:that )?"
)
NOTE = re.compile(
    r"\b(?:it is|it's) (?:also )?(?:important|worth|essential|crucial|necessary) to (?:note|say|mention"
    r"|point out|remember|recognise|recognize|understand) that\b|\bworth noting that\b"
)
BEST_NOT = re.compile(
    r"\b(?:it is|it's|it would be|it'd be|would be|probably|is) (?:\w+ )?(?:best|better|advisable"
    r"|recommended|wise|preferable|safer|wiser|important|essential|crucial)"
    r" (?:not to|to avoid|to refrain|to keep it|to leave it|left|kept)\b"
)
ABSTAIN = re.compile(
    r"\b(?:can't|cannot|can not|could not|couldn't|unable to|not able to|hard to|difficult to"
    r"|impossible to|tough to|not possible to|don't have enough|do not have enough|not enough|no way to"
    r"|nothing to|too little) "
    r"(?:really |definitively |accurately |honestly |reliably |possibly |for sure |information to "
    r"|context to |certainly |conclusively |exactly )*"
    r"(?:say|tell|determine|judge|decide|confirm|assess|know|be sure|be certain|verify|guarantee|evaluate"
    r"|conclude|comment|answer|context|information|give a verdict)\b"
    r"|\b(?:not|n't) (?:entirely |really |quite |completely |fully |be )*(?:sure|certain|clear|know)\b"
    r"|\b(?:unsure|uncertain|unclear|undecided|i wonder|no idea|no opinion|neutral on|open question)\b"
    r"|^(?:well,? )?(?:it|this|that|the answer|whether [^.]{1,120}) (?:really |all |largely |very much "
    r"|would |will |mostly |simply )*depends?\b|^depends\b|^(?:maybe|perhaps|possibly)\b"
    r"|\byes and no\b|\byes or no\b|\byes/no\b|\bneither yes nor no\b|\bboth safe and unsafe\b"
    r"|\bneither safe nor unsafe\b|\beither safe or unsafe\b|\bsafe or unsafe\b|\bsafe/unsafe\b"
    r"|\bsafe or not\b"
)
