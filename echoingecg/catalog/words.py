"""Decides which results in words may leave the hospital.

A result in words may be free text, and free text may name a person. A text is kept if it has at most 80 characters and

- every word of it stands in the vocabulary below and no number in it has more than three digits in a row, as in
  `Mild (1+)` or `Mod symmetric LVH (1.5-1.7cm)`, and it holds no date; or
- the export has it for at least 5 different patients. Exams would not do: one patient may have five exams.
"""

import re

from data_contracts.catalog import MAX_WORDS_CHARACTERS

LEAST_PATIENTS = 5

_VOCABULARY = frozenset(
    """
    a abdominal abnl abnormal abnormally about absent acoustic adequate akinesia akinesis akinetic all an and
    aneurysm aneurysmal annular annuloplasty annulus ant anterior anteriorly anterolateral anteroseptal aorta
    aortic apex apical apparent approx approximately ar arch area as ascending asd assess assessed assessment
    asymmetric at atheroma atria atrial atrium av average avg balloon basal be below bicuspid billowing
    bioprosthesis bioprosthetic blunted blunting borderline both bpm bsa bubble but by calcification calcified
    calculated cannot catheter cavity central centrally chamber chordae chordal circumferential closure cm collapse
    collapses collapsing color colour complete complex compressed compression concentric concentrically consistent
    contractile contrast could d decrease decreased defect definite depressed descending determined device diameter
    diastole diastolic difficult diffuse diffusely dilated dilation dimension distal doppler due dynamic
    dysfunction dysfunctional dyskinesia dyskinesis dyskinetic dyssynchrony e early eccentric eccentrically echo
    echodense ef effusion ejection elevated enlarged enlargement est estimated eustachian evaluated excellent
    exclude excluded excursion extensive extremely fair fat fibrillation fibrosis fibrotic filling flail flattened
    flattening flow fluid focal for foramen fraction free function g geometry global globally good grade gradient
    graft greater hemodynamic hemodynamically hepatic high homograft homografts hr hyperdynamic hyperdynamically
    hyperechoic hyperkinetic hypertension hypertrophic hypertrophy hypo hypoechoic hypokinesia hypokinesis
    hypokinetic ii iii image images impaired in inadequate increase increased indeterminate index indexed inf
    inferior inferolateral inferoseptal inflow insufficiency intact interatrial interventricular intraaortic is iv
    ivc jet junction kg la lae large lat late lateral lead leads leaflet leaflets least left less likely limited
    lipomatous loculated low lower lv lvef lvh lvot m mac marked markedly mass masses mean mechanical mid mild
    mildly min minimal minimally mitral ml mm mmhg mobile mod moderate moderately more morphology motion mr ms
    multiple near network nl no nodular noncompaction nondilated none normal normalized not obstruction obtained
    occluder of one operative or organised organized outflow ovale over overload pa paced pacemaker pad papillary
    paradoxic paradoxical paravalvular partial patent peak pericardial pericardium pfo phtn physiologic pleural
    poor possible post posterior posteriorly pr present preserved pressure prior probable probably prolapse
    prominent prosthesis prosthetic pseudonormal pseudonormalization pulm pulmonary pulmonic pump quality ra rae
    range reduced regional regurgitant regurgitation relaxation remodeling remodelling repair repaired replaced
    replacement resting restricted restriction restrictive reversal rheumatic rhythm right ring root rv rvh rwt s
    sclerosis sec secundum seen segment segmental segments sept septal septum sessile severe severely shortened
    shunt significant significantly simple single sinotubular sinus size slight slightly small stenosis stenotic
    stent sternotomy stress suboptimal subvalvular suggestive supranormal supravalvular surgical suspected
    symmetric symmetrical symmetrically systole systolic tachycardia tamponade tap tapse technically tee tethered
    test tethering than the thick thickened thickening thickness thin thinned thoracic three thrombus to tr trace tract
    train tricuspid trileaflet trivial tte two ul unable under unicuspid unknown unremarkable upper
    validation valve valves valvular
    variable varies vegetation vein veins velocity ventricle ventricular very view views volume vsd wall wide width
    window windows wire with within wma yes
    """.split()  # noqa: SIM905 - a list would fill four pages
)
_WORDS = re.compile(r"[^\W\d_]+(?:/[^\W\d_]+)*")
_NUMBERS = re.compile(r"\d+")
_MAX_DIGITS = 3
_DATE = re.compile(r"\d([/.-])\d+\1\d")


def is_short(text: str) -> bool:
    """Returns whether a text is no longer than a finding."""
    return len(text) <= MAX_WORDS_CHARACTERS


def is_vocabulary(text: str) -> bool:
    """Returns whether a text consists of words of echo findings, short numbers and signs: it can name nobody."""
    if _DATE.search(text):
        return False
    words = (word for group in _WORDS.findall(text.lower()) for word in group.split("/"))
    return all(word in _VOCABULARY for word in words) and all(
        len(number) <= _MAX_DIGITS for number in _NUMBERS.findall(text)
    )
