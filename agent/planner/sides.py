"""Picture and sound in a sentence: which it asks for alone, leaves out, or needs. By rules, in eight languages."""

import re
from typing import Literal

Side = Literal["picture", "sound"]

_SOUND = (
    r"(?:sound|audio|soundtrack|music|ton|sonido|m[úu]sica|son|bande[- ]son|musique|som|áudio|suono|musica"
    r"|音声|音|声音|音频)"
)
_PICTURE = (
    r"(?:picture|video|image|visual|footage|bild|imagen|v[íi]deo|vid[ée]o|imagem|immagin[ei]"
    r"|映像|画像|動画|画面|视频|图像)"
)
_ONLY = r"(?:only|just|nur|s[óo]lo|solamente|seulement|uniquement|juste|rien que|s[óo]|apenas|somente|soltanto)"
_ARTICLE = r"(?:the |its |their |my |das |den |die |el |la |los |las |le |les |l'|o |a |os |as |il |lo |gli |i )?"
_WITHOUT = (
    r"(?:no|without|without any|leave out|skip|drop|mute|not|don't (?:need|want|train)|ohne|kein(?:e|en)?|sin|sans"
    r"|pas de|sem|senza|niente|nessun[ao]?)"
)
_JA = r"(?:は|が)?(?:いらない|なし|不要)"
_NOT_PICTURE = (
    rf"(?<!\w){_WITHOUT} {_ARTICLE}{_PICTURE}s?(?!\w)|(?:映像|画像|動画){_JA}|不(?:要|需要)(?:画面|视频|图像)"
)
_NOT_SOUND = rf"(?<!\w){_WITHOUT} {_ARTICLE}{_SOUND}s?(?!\w)|(?:音声|音){_JA}|不(?:要|需要)(?:声音|音频)"
_ONLY_PICTURE = (
    rf"(?<!\w){_ONLY} {_ARTICLE}{_PICTURE}s?(?!\w)|(?<!\w){_PICTURE}[- ](?:only|alone)(?!\w)"
    r"|(?:映像|画像|動画)だけ|(?:只要|只有|仅)(?:画面|视频|图像)"
)
_ONLY_SOUND = (
    rf"(?<!\w){_ONLY} {_ARTICLE}{_SOUND}s?(?!\w)|(?<!\w){_SOUND}[- ](?:only|alone)(?!\w)"
    r"|(?:音声|音)だけ|(?:只要|只有|仅)(?:声音|音频)"
)
_LACKS = (
    r"\b(?:has|have|had|got|there (?:is|was)|with|are|is) (?:no|without)\b|\bsilent\b|\bmute\b|\bstumm|\bmud[oa]s?\b"
    r"|\bmuets?\b|無音|无声|静音|\bmut[ie]\b"
)
"""Words that say what the footage lacks, not what the training should leave out."""
_HEARD = re.compile(
    r"\b(?:voice|speak|speech|talk|sing(?:s|ing|er)?\b|sound|audio|music|song|noise|foley|accent|dialogue|"
    r"stimme|spricht|sprechen|redet|singt|klang|klingt|musik|ger[äa]usch|"
    r"voz|habla|canta|sonido|m[úu]sica|ruido|voix|parle|chante|musique|bruit|bande[- ]son|"
    r"fala|áudio|voce|parla|suono|rumor)|声|音|話し|说话|唱",
)


def only_side(text: str) -> Side | None:
    """The one side that lower-case `text` wants trained, or that is left when it wants the other left out."""
    lacks = re.search(_LACKS, text) is not None
    if re.search(_ONLY_SOUND, text) or (not lacks and re.search(_NOT_PICTURE, text)):
        return "sound"
    if re.search(_ONLY_PICTURE, text) or (not lacks and re.search(_NOT_SOUND, text)):
        return "picture"
    return None


def speaks_of_sound(text: str) -> bool:
    """Whether lower-case `text` names something that is heard, and not to leave it out."""
    return only_side(text) != "picture" and not re.search(_LACKS, text) and _HEARD.search(text) is not None
