"""The words of the pocket world: what each scene, colour, motion and sound is called in prompts."""

from __future__ import annotations

# Every name first, then what else people call it. A phrase may be several words; hyphens count as spaces.
SCENE_WORDS = {
    "tunnel": ("tunnel", "tunnels", "corridor", "tube"),
    "rings": ("rings", "ring", "circles", "concentric circles"),
    "plasma": ("plasma", "plasma clouds", "liquid light", "lava"),
    "stripes": ("stripes", "striped pattern", "bars", "stripe"),
    "waves": ("waves", "wave", "sea", "ocean waves", "ocean"),
    "metaballs": ("metaballs", "blobs", "metaball", "lava lamp", "drops"),
    "grid": ("grid", "neon grid", "grid lines", "lattice"),
    "spiral": ("spiral", "vortex", "swirl", "spirals"),
    "checker": ("checker", "checkerboard", "checkered pattern", "chessboard", "checkers"),
    "kaleidoscope": ("kaleidoscope", "mandala", "kaleidoscopic pattern"),
    "starfield": ("starfield", "stars", "star field", "flying stars"),
    "ribbons": ("ribbons", "silk ribbons", "ribbon", "streamers"),
}
PALETTE_WORDS = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine"),
    "gold": ("gold", "golden", "yellow"),
    "green": ("green", "emerald"),
    "cyan": ("cyan", "turquoise", "aqua"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose", "magenta"),
    "white": ("white", "silver", "monochrome"),
}
SPEED_WORDS = {
    "still": ("still", "static", "frozen", "motionless", "not moving"),
    "slow": ("slow", "slowly", "slow moving", "gentle", "calm", "gently"),
    "normal": ("moving", "medium speed", "normal speed", "moderate"),
    "fast": ("fast", "quick", "rapid", "quickly", "racing", "speedy"),
}
MODIFIER_WORDS = {
    "reverse": ("reverse", "reversed", "backwards", "in reverse", "backward", "running backwards"),
    "pulsing": ("pulsing", "pulsating", "pulsing to the beat", "throbbing", "pulse"),
    "zooming in": ("zooming in", "zoom in", "coming closer"),
    "zooming out": ("zooming out", "zoom out", "moving away"),
    "rotating": ("rotating", "spinning", "turning", "revolving", "rotate"),
}
SOUND_WORDS = {
    "silence": ("silence", "silent", "no sound", "without sound", "mute", "no music"),
    "low drone": ("low drone", "drone", "deep drone", "humming drone", "low hum", "hum", "bass drone"),
    "pad": ("pad", "soft pad", "synth pad", "warm pad", "pads", "soft chords", "chords"),
    "arpeggio": ("arpeggio", "arpeggios", "arp", "plucked notes", "plucked arpeggio"),
    "bells": ("bells", "bell", "chimes", "ringing bells"),
    "drums": ("drums", "drum beat", "drum", "kick drum", "drumming", "kick and snare", "beats", "beat"),
    "hi-hats": ("hi hats", "hats", "hi hat", "hihats", "hihat", "cymbals"),
    "noise": ("noise", "wind", "white noise", "wind noise", "hiss"),
}

TEMPO_RANGE_BPM = (60, 180)
# Tempo words, each for a range in beats per minute; "slow beat" names the tempo only.
TEMPO_RANGES_BPM = {"downtempo": (70, 90), "midtempo": (100, 115), "uptempo": (125, 140), "frantic": (150, 175)}
TEMPO_WORDS = {
    "downtempo": ("downtempo", "slow beat", "slow tempo"),
    "midtempo": ("midtempo", "medium tempo", "mid tempo"),
    "uptempo": ("uptempo", "up tempo", "fast tempo", "fast beat"),
    "frantic": ("frantic", "frantic tempo", "frantic beat"),
}

# Words a prompt may contain without meaning anything to the model.
FILLER_WORDS = frozenset(
    "a an the of with and in on at to from by for as is are it its this that there some very really quite all over "
    "into through while please show me give make let play playing plays want i we see hear sound sounds sounding "
    "music picture pictures image images scene video visual visuals clip loop pattern patterns shape shapes light "
    "lights lines bright dark deep vivid neon glowing glow soft warm colour colours color colors coloured colored "
    "background black screen style abstract beautiful big large small nice speed tempo motion movement moves move bpm "
    "per minute around across endless full whole set against plus accompanied under beneath only just made".split()
)

# Plain words that the world does not know, dropped into prompts so that the model learns to play on.
STRANGE_WORDS = (
    "cat dog house tree river mountain city street car train robot dragon castle forest flower garden bird fish horse "
    "lion tiger elephant whale butterfly child woman man people crowd dancer singer face eyes hand heart body dream "
    "memory love hope fear anger joy summer winter spring autumn morning evening night midnight sunset sunrise moon "
    "sun sky cloud rain snow storm thunder lightning fire smoke dust sand stone crystal glass metal wood paper water "
    "ice island beach desert jungle village bridge tower window door room kitchen table chair book letter clock "
    "mirror lamp camera film cinema theatre stage concert festival club party techno ambient jazz rock disco trance "
    "dub funk guitar piano violin trumpet saxophone flute voice choir orchestra vinyl tape synth analog digital pixel "
    "glitch retro vintage modern future ancient alien cosmic galaxy planet comet rocket astronaut machine engine "
    "factory computer network signal data code electric magnetic atomic quantum organic natural wild happy sad "
    "strange weird funny scary quiet loud heavy tiny huge long short tall round square flat sharp smooth rough wet "
    "dry hot cold old new young empty broken hidden secret magic royal holy sweet bitter underwater overhead "
    "everything nothing something always never again maybe today tomorrow yesterday hello world welcome friends thank "
    "you good bad best"
).split()
